#!/bin/sh
# Turns a title into a slug: slug.sh "Hello, World" prints hello-world.
printf '%s' "$1" | tr '[:upper:]' '[:lower:]' | tr -c 'a-z0-9' '-' | sed 's/^-*//; s/-*$//'
