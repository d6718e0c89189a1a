#!/bin/sh
# Prints its results in the Test Anything Protocol.
number=0
failed=0

expect() { # name, title, slug
    number=$((number + 1))
    got=$(sh ./slug.sh "$2")
    if [ "$got" = "$3" ]; then
        echo "ok $number - $1"
    else
        failed=1
        echo "not ok $number - $1"
        echo "# expected $3, got $got"
    fi
}

expect "lower-cases words" "Hello" "hello"
expect "trims separators at both ends" "  Hello! " "hello"
expect "collapses runs of separators" "Hello,   World" "hello-world"
echo "1..$number"
exit $failed
