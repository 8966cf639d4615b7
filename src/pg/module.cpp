// What PostgreSQL calls when it loads the library.
#include "pg/guard_drop.hpp"
#include "pg/owner.hpp"
#include "pg/pg.hpp"
#include "pg/settings.hpp"

extern "C" {

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init();  // NOLINT(bugprone-reserved-identifier): PostgreSQL's name

void _PG_init() {
    kms::pg::define_settings();
    kms::pg::guard_against_drops();
    kms::pg::watch_owners_code();
}

}  // extern "C"
