// reencrypt: brings every row of a registered column to the current version of its key, or of
// another one.
#include "pg/columns/in_step_trigger.hpp"
#include "pg/rewriting/rewriting.hpp"

namespace kms::pg {

KMS_FUNCTION(kms_reencrypt) {
    Rewriting run = {};
    run.procedure = "kms.reencrypt";
    run.action = "re-encrypt a value with";
    run.has_done = "re-encrypted";
    read_run_arguments(fcinfo, run, 2);
    run.target = run.source;
    read_move_arguments(fcinfo, run, 5);
    run.own_trigger = in_step_function();
    require_non_atomic(fcinfo, run.procedure);
    require_rewritable(run);
    const ByteView wanted = run.move.key_identifier;
    require_usable_key(run.action, wanted.empty() ? registration_of(run).key_identifier : wanted);
    rewrite_column(run);
    SPI_finish();
    PG_RETURN_VOID();
}

}  // namespace kms::pg
