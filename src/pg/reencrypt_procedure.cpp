// reencrypt: brings every row of a registered column to the current version of its key, or of
// another one.
#include "pg/in_step.hpp"

namespace kms::pg {

KMS_FUNCTION(kms_reencrypt) {
    Rewriting run = {};
    run.procedure = "kms.reencrypt";
    run.action = "re-encrypt a value with";
    run.has_done = "re-encrypted";
    run.relation = relation_argument(fcinfo, 0);
    run.source = run.target = column_argument(fcinfo, 1, run.relation);
    run.batch = batch_argument(fcinfo, 2);
    run.pause_ms = pause_argument(fcinfo, 3);
    run.triggers = triggers_argument(fcinfo, 4);
    run.move = move_arguments(fcinfo, 5);
    run.own_trigger = in_step_function();
    require_non_atomic(fcinfo, run.procedure);
    require_rewritable(run);
    rewrite_column(run);
    SPI_finish();
    PG_RETURN_VOID();
}

}  // namespace kms::pg
