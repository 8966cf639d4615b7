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

Status check_rights(Connection& connection, const char* functions) {
    KMS_ASSIGN(const Answer answer,
               connection.ask(
                   {"SELECT pg_catalog.string_agg(DISTINCT p.proname::pg_catalog.text, ', '),"
                    " pg_catalog.quote_literal(CURRENT_USER)"
                    " FROM pg_catalog.pg_proc p"
                    " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace"
                    " WHERE n.nspname OPERATOR(pg_catalog.=) 'kms'"
                    " AND p.proname::pg_catalog.text OPERATOR(pg_catalog.=)"
                    " ANY (pg_catalog.string_to_array($1, ','))"
                    " AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')",
                    {text_parameter(std::string(functions))}}));
    if (answer.is_null(0, 0)) {
        return {};
    }
    return Error{Code::failed, "permission denied for functions of kms: " + answer.text(0, 0) +
                                   "; let its owner SELECT kms.grant_role(" + answer.text(0, 1) +
                                   ", 'blob_user')"};
}

}  // namespace kms::blob
