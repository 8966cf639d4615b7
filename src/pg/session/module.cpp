// What PostgreSQL calls when it loads the library.
#include "pg/server/pg.hpp"
#include "pg/session/guard_drop.hpp"
#include "pg/session/settings.hpp"
#include "pg/tables/owner.hpp"

extern "C" {

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init();  // NOLINT(bugprone-reserved-identifier): PostgreSQL's name

void _PG_init() {
    kms::pg::define_settings();
    kms::pg::guard_against_drops();
    kms::pg::watch_owners_code();
}

}  // extern "C"
