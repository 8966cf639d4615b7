# shellcheck shell=bash
# The releases of Debian that have other major versions of PostgreSQL: for versions and headers,
# which source this after lib.sh.

# Name, suite, PostgreSQL, and where that is from another suite the packages that have to be too.
# shellcheck disable=SC2034 # for those who source this
releases='trixie trixie 17
sid sid 18
experimental sid 19 libpq5 libpq-dev'

# The mirror that apt has here; nothing where there is none.
mirror() {
    # shellcheck disable=SC2016 # for apt
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' |
        sed -n 's/^Debian Debian //p' | sort -u | head -n 1
}
