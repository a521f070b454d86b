#!/usr/bin/env bash
# Fetches the library of the embedded engine with the npm client, checks it
# against the pinned digest, keeps it in a cache and links it into place.
#
#   fetch-libchdb.sh CACHE TARGET
#
# The digest is the one that the package's registry publishes as "integrity"
# (sha512, there in base64): npm view PACKAGE@VERSION dist.integrity
set -euo pipefail

package=@chdb/lib-linux-x64-gnu
version=26.7.3-stable.1
sha512=5cff7b98caa7739b59a4a432c11f0dedc2d3b073624e61ebdf4a42e66ce8de35a6ba48ca9f62016bad1cd81fe059435cb858ce3235a8a2b408082a81563e70a7

fail() {
	echo "fetch-libchdb: $1" >&2
	echo "  $2" >&2
	exit 1
}

cache=${1:?usage: fetch-libchdb.sh CACHE TARGET}
target=${2:?usage: fetch-libchdb.sh CACHE TARGET}
kept=$cache/libchdb-$version.so

if [[ $(uname -s)-$(uname -m) != Linux-x86_64 ]]; then
	fail "there is no libchdb package for $(uname -s) on $(uname -m)" \
		"build your own and set SCOPEDRIFT_LIBCHDB to it, or use a server with --clickhouse URL"
fi

if [[ ! -f $kept ]]; then
	command -v npm >/dev/null || fail "npm is not installed, and the library comes by it" \
		"install npm, or set SCOPEDRIFT_LIBCHDB to a libchdb.so of version $version"
	mkdir -p "$cache"
	# A directory of its own: two builds at once do not meet.
	work=$(mktemp -d "$cache/fetch-XXXXXX")
	trap 'rm -rf "$work"' EXIT
	echo "fetching $package $version (178 MB)" >&2
	(cd "$work" && npm pack --silent --no-update-notifier "$package@$version" >pack.log 2>&1) ||
		fail "npm cannot fetch $package@$version: $(tail -n 3 "$work/pack.log" | tr '\n' ' ')" \
			"check the network and npm's configuration, or set SCOPEDRIFT_LIBCHDB"
	archive=$(echo "$work"/*.tgz)
	echo "$sha512  $archive" | sha512sum --check --status ||
		fail "what npm delivered is not $package $version: its SHA-512 is wrong" \
			"do not use it; see whether the configured registry is the one you trust"
	tar -xzf "$archive" -C "$work" package/libchdb.so
	chmod 0755 "$work/package/libchdb.so"
	mv "$work/package/libchdb.so" "$kept"
fi

if [[ ! $kept -ef $target ]]; then
	mkdir -p "$(dirname "$target")"
	# A link where the file system has them: the library is 566 MB. Moved into
	# place as a whole, because a running engine may have the old one mapped.
	ln -f "$kept" "$target.new" 2>/dev/null || cp "$kept" "$target.new"
	mv -f "$target.new" "$target"
fi
