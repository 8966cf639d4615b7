// Included last by every file below src/pg/: the lower floors must not know PostgreSQL, whose
// ereport would jump over their destructors.
#if defined(POSTGRES_H) || defined(PG_VERSION_NUM)
#error "postgres.h has leaked below src/pg/"
#endif
