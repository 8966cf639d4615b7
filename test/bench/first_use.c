/*
 * What a session pays once, timed inside its backend so that connecting is not counted.
 */
#include "postgres.h"

#include <spawn.h>
#include <sys/wait.h>

#include "fmgr.h"
#include "portability/instr_time.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

extern char** environ;

static double microseconds_since(instr_time began) {
    instr_time now;

    INSTR_TIME_SET_CURRENT(now);
    INSTR_TIME_SUBTRACT(now, began);
    return INSTR_TIME_GET_DOUBLE(now) * 1e6;
}

/* The least that a process can cost: /bin/true, spawned and reaped. posix_spawn beats fork here. */
PG_FUNCTION_INFO_V1(time_true);
Datum time_true(PG_FUNCTION_ARGS) {
    char* arguments[] = {"true", NULL};
    int status;
    pid_t child;
    instr_time began;

    INSTR_TIME_SET_CURRENT(began);
    if (posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) != 0 ||
        waitpid(child, &status, 0) != child || status != 0)
        elog(ERROR, "/bin/true failed");
    PG_RETURN_FLOAT8(microseconds_since(began));
}

/* time_encode(encode regprocedure, local_id int, data bytea, context bytea): one call of it. */
PG_FUNCTION_INFO_V1(time_encode);
Datum time_encode(PG_FUNCTION_ARGS) {
    FmgrInfo encode;
    instr_time began;

    fmgr_info(PG_GETARG_OID(0), &encode);
    INSTR_TIME_SET_CURRENT(began);
    FunctionCall3(&encode, PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), PG_GETARG_DATUM(3));
    PG_RETURN_FLOAT8(microseconds_since(began));
}
