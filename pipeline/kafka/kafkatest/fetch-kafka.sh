#!/usr/bin/env bash
# Fetches Apache Kafka, whose real broker the tests start, with Maven, and checks
# every jar against the digests beside this script.
#
#   fetch-kafka.sh CACHE          fetch into CACHE/kafka-VERSION, if it is not there
#   fetch-kafka.sh CACHE pin      fetch anew, and write jars.sha256 from what came
#
# Without java or mvn it says so and is content: the tests skip then. Where CI is
# set it fails instead.
set -euo pipefail
export LC_ALL=C

version=4.1.1

fail() {
	echo "fetch-kafka: $1" >&2
	echo "  $2" >&2
	exit 1
}

cache=${1:?usage: fetch-kafka.sh CACHE [pin]}
room=$(cd "$(dirname "$0")" && pwd)
kept=$cache/kafka-$version

if [[ -d $kept && ${2:-} != pin ]]; then
	exit 0
fi
for program in java mvn; do
	if ! command -v "$program" >/dev/null; then
		[[ -z ${CI:-} ]] || fail "$program is not installed, and tests with CI set need a Kafka broker" \
			"install a Java runtime (17 or later) and Maven"
		echo "fetch-kafka: $program is not installed: tests that need a real Kafka broker will be skipped" >&2
		exit 0
	fi
done

mkdir -p "$cache"
# A directory of its own: two builds at once do not meet.
work=$(mktemp -d "$cache/fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching Apache Kafka $version (43 MB)" >&2
cp "$room/pom.xml" "$work/"
(cd "$work" && mvn --batch-mode --quiet --strict-checksums dependency:copy-dependencies -DoutputDirectory=jars >mvn.log 2>&1) ||
	fail "mvn cannot fetch Apache Kafka $version: $(grep -m 1 ERROR "$work/mvn.log" || tail -n 1 "$work/mvn.log")" \
		"check the network and Maven's settings"
if [[ ${2:-} == pin ]]; then
	(cd "$work/jars" && sha256sum -- *.jar) >"$room/jars.sha256"
fi
# Both ways: every listed jar is there and whole, and no jar is unlisted.
(cd "$work/jars" && sha256sum --check --quiet --strict "$room/jars.sha256" >&2) &&
	[[ $(cd "$work/jars" && ls) == "$(awk '{ print $2 }' "$room/jars.sha256")" ]] ||
	fail "what mvn delivered is not the pinned Apache Kafka $version" \
		"do not use it; see whether the configured repository is the one you trust"
rm -rf "$kept"
mv "$work/jars" "$kept"
