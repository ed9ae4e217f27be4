"""Makes common.txt: `pip install zxcvbn==4.5.0`, then `python3 common.py > common.txt`."""

from zxcvbn.frequency_lists import FREQUENCY_LISTS

MOST_USED = 10_000

passwords = FREQUENCY_LISTS["passwords"]
# The list is ordered by use. Long ones count wherever they stand: they alone would pass the rule of length.
chosen = {word for at, word in enumerate(passwords) if at < MOST_USED or len(word) >= 12}
print("\n".join(sorted(word for word in chosen if word.isascii())))
