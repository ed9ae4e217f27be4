#!/usr/bin/env python3
"""A picture on standard input, as Pillow has it at another size, bilinear: `resized.py WIDTH HEIGHT`; raw samples come out."""

import io
import sys

from PIL import Image

width, height = map(int, sys.argv[1:3])
picture = Image.open(io.BytesIO(sys.stdin.buffer.read()))
sys.stdout.buffer.write(picture.resize((width, height), Image.Resampling.BILINEAR).tobytes())
