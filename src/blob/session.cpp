#include "blob/session.hpp"

#include "blob/interruption.hpp"

#include "base/floor.hpp"

namespace kms::blob {

// Signals are caught when there is a connection: to wait for one is libpq's, which would not
// notice.
Result<Connection> begin_session(const Options& options, OnSignal on_signal) {
    KMS_ASSIGN(Connection connection, Connection::open(options.target));
    if (on_signal == OnSignal::end_in_order) {
        KMS_TRY(catch_signals());
    }
    if (options.key) {
        KMS_TRY(connection.ask({"SELECT kms.set_key($1, $2)",
                                {int_parameter(options.local_id), text_parameter(options.key)}}));
    }
    return connection;
}

}  // namespace kms::blob
