// reencrypt: brings every row of a registered column to the current version of its key.
#include "pg/in_step.hpp"

namespace kms::pg {

KMS_FUNCTION(kms_reencrypt) {
    Rewriting run = {};
    run.procedure = "kms.reencrypt";
    run.relation = relation_argument(fcinfo, 0);
    run.source = run.target = column_argument(fcinfo, 1, run.relation);
    run.batch = batch_argument(fcinfo, 2);
    run.pause_ms = pause_argument(fcinfo, 3);
    run.triggers = triggers_argument(fcinfo, 4);
    run.own_trigger = in_step_function();
    require_non_atomic(fcinfo, run.procedure);
    require_rewritable(run);
    (void)current_key(run);
    rewrite_column(run);
    SPI_finish();
    PG_RETURN_VOID();
}

}  // namespace kms::pg
