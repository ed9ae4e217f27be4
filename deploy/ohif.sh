#!/bin/sh
# Installs OHIF (MIT licence) for [viewer] of the vault's configuration:
#
#   deploy/ohif.sh DIR            fetches the package by npm
#   deploy/ohif.sh DIR TARBALL    takes a package that `npm pack @ohif/app@VERSION` fetched elsewhere
#
# The version is fixed, and so is what its package must hold: another content is refused. Nothing of it is run here. Source maps
# and the ONNX runtime (three quarters of the package) stay behind, and so do service workers, which would fetch code from
# elsewhere. What is text is stored zipped as well, so that the vault need not zip it for each visitor.
set -eu

VERSION=3.12.10
SHA512=0kuF66Mq9c9dMD++bUsTjMrJpXJwaZhz9B4uS244DawAjSkTwIYFU93pxPuRUQixaRi7QAHlF3Fe1qudBlZrmA==

die() { printf '%s\n' "ohif.sh: $*" >&2; exit 1; }

[ $# -ge 1 ] && [ $# -le 2 ] || die "usage: deploy/ohif.sh DIR [TARBALL]"
dir=$1
package=${2:-}
[ ! -e "$dir" ] || [ -f "$dir/index.html" ] || [ -z "$(ls -A "$dir")" ] || die "$dir holds something that is no viewer"
for tool in openssl tar gzip; do
    command -v "$tool" >/dev/null || die "$tool is missing"
done

work=$dir.new
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

if [ -z "$package" ]; then
    command -v npm >/dev/null || die "npm is missing: install it, or bring the package along as TARBALL"
    (cd "$work" && npm pack --silent --ignore-scripts "@ohif/app@$VERSION" >/dev/null) || die "npm could not fetch @ohif/app@$VERSION"
    package=$work/ohif-app-$VERSION.tgz
fi
held=$(openssl dgst -sha512 -binary "$package" | openssl base64 -A)
[ "$held" = "$SHA512" ] || die "the package is not what @ohif/app@$VERSION is known to hold; nothing is installed"

tar -xzf "$package" -C "$work" --strip-components=2 --no-same-owner --exclude='*.map' --exclude='package/dist/ort' package/dist
tar -xzf "$package" -C "$work" --strip-components=1 --no-same-owner package/LICENSE
rm -f "$work/ohif-app-$VERSION.tgz" "$work/sw.js" "$work/init-service-worker.js" "$work/_headers" "$work/_redirects"
[ -f "$work/index.html" ] || die "the package holds no index.html"
find "$work" -type f \( -name '*.js' -o -name '*.css' -o -name '*.wasm' -o -name '*.json' -o -name '*.svg' \) -size +1k -exec gzip -9nk {} +
chmod -R u=rwX,go=rX "$work"

old=$dir.old
rm -rf "$old"
[ ! -e "$dir" ] || mv "$dir" "$old"
mv "$work" "$dir"
rm -rf "$old"
printf '%s\n' "OHIF $VERSION is in $dir. Name it in the vault's configuration:" "" "[viewer]" "dir = \"$dir\"" "listen = \"0.0.0.0:8444\"" >&2
