#include "pg/stored/data_key_writer.hpp"

#include <array>

#include "pg/server/arguments.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/transaction.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/subscriptions.hpp"

namespace kms::pg {
namespace {

template <std::size_t N>
struct Parameters {
    Oid types[N];
    Datum values[N];
};

template <std::size_t N>
std::uint64_t execute(const char* statement, Parameters<N> parameters) {
    const std::uint64_t count = change_as_owner({.table = data_key_table(),
                                                 .statement = statement,
                                                 .parameters = N,
                                                 .types = parameters.types,
                                                 .values = parameters.values});
    ForceSyncCommit();
    return count;
}

// Who holds the lock has just read them.
void require_changed(std::uint64_t found, std::uint64_t expected) {
    if (found != expected) {
        raise_data_keys_changed();
    }
}

// Arrays of equal length, filled row by row.
template <std::size_t N>
class Columns {
  public:
    explicit Columns(std::size_t room) {
        for (Datum*& column : columns_) {
            column = allocate_many<Datum>(room);
        }
    }

    void add(const std::array<Datum, N>& row) {
        for (std::size_t i = 0; i < N; ++i) {
            columns_[i][count_] = row[i];
        }
        ++count_;
    }

    Datum array(std::size_t column, Oid type) const {
        int16 length = 0;
        bool by_value = false;
        char alignment = 0;
        get_typlenbyvalalign(type, &length, &by_value, &alignment);
        return PointerGetDatum(construct_array(columns_[column], static_cast<int>(count_), type,
                                               length, by_value, alignment));
    }

  private:
    std::array<Datum*, N> columns_;
    std::size_t count_ = 0;
};

}  // namespace

void raise_data_keys_changed() {
    ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                    errmsg("rows of kms.data_key have changed meanwhile")));
}

bool are_data_keys_own() {
    return subscription_to(data_key_table()) == InvalidOid;
}

void require_own_data_keys(const char* function) {
    require_writable(function);
    const Oid subscription = subscription_to(data_key_table());
    if (subscription != InvalidOid) {
        ereport(
            ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("cannot execute %s where kms.data_key is filled by a subscription", function),
             errdetail("Subscription \"%s\" brings data keys from another server, and would stop "
                       "at one that is changed here and there.",
                       shown_subscription(subscription)),
             errhint(
                 "Call it at the publisher. To keep data keys of this server's own, drop "
                 "the subscription, or take kms.data_key out of its publication and "
                 "ALTER SUBSCRIPTION ... REFRESH PUBLICATION; and give it a keyring of its own, "
                 "since the publisher goes on destroying versions of the KEK.")));
    }
}

void lock_data_key(ByteView name) {
    const Parameters<1> parameters = {{BYTEAOID}, {bytes_datum(name)}};
    // While it was waited for, the row may have gone, and others have come in its place.
    while (execute("SELECT FROM kms.data_key WHERE name = $1 ORDER BY version LIMIT 1"
                   " FOR NO KEY UPDATE",
                   parameters) == 0 &&
           read_data_key(name).newest() != nullptr) {
    }
}

bool insert_data_key(const NewRow& row) {
    const Parameters<10> parameters = {
        {BYTEAOID, INT4OID, TEXTOID, BYTEAOID, BYTEAOID, INT4OID, BYTEAOID, INT4OID, TEXTOID,
         TIMESTAMPTZOID},
        {bytes_datum(row.id.name), UInt32GetDatum(row.id.version),
         text_datum(info_of(row.id.algorithm).name), bytes_datum(row.tag), bytes_datum(row.kek),
         UInt32GetDatum(row.wrapped.kek_version), bytes_datum(row.wrapped.bytes),
         UInt32GetDatum(row.kek_version_first), text_datum(wire::state_word(row.state)),
         TimestampTzGetDatum(row.created)}};
    return execute(
               "INSERT INTO kms.data_key (name, version, algorithm, key_tag, kek, kek_version,"
               " wrapped, kek_version_first, state, created)"
               " VALUES ($1, $2, $3, $4, $5, $6, NULLIF($7, ''), $8, $9, $10)"
               " ON CONFLICT (name, version) DO NOTHING",
               parameters) == 1;
}

void delete_data_key(ByteView name, std::size_t versions) {
    const Parameters<1> parameters = {{BYTEAOID}, {bytes_datum(name)}};
    require_changed(execute("DELETE FROM kms.data_key WHERE name = $1", parameters), versions);
}

void set_data_key_state(ByteView name, std::uint32_t version, wire::VersionState state) {
    const Parameters<3> parameters = {
        {BYTEAOID, INT4OID, TEXTOID},
        {bytes_datum(name), UInt32GetDatum(version), text_datum(wire::state_word(state))}};
    require_changed(
        execute("UPDATE kms.data_key SET state = $3 WHERE name = $1 AND version = $2", parameters),
        1);
}

void replace_wrapped_forms(std::span<const NewForm> forms) {
    Columns<5> columns(forms.size());
    for (const NewForm& form : forms) {
        columns.add({bytes_datum(form.name), UInt32GetDatum(form.version),
                     UInt32GetDatum(form.kek_version), PointerGetDatum(form.wrapped),
                     BoolGetDatum(form.keep_second)});
    }
    const Parameters<5> parameters = {
        {BYTEAARRAYOID, INT4ARRAYOID, INT4ARRAYOID, BYTEAARRAYOID, BOOLARRAYOID},
        {columns.array(0, BYTEAOID), columns.array(1, INT4OID), columns.array(2, INT4OID),
         columns.array(3, BYTEAOID), columns.array(4, BOOLOID)}};
    require_changed(
        execute("UPDATE kms.data_key k SET kek_version = n.kek_version, wrapped = n.wrapped,"
                " kek_version_before = CASE WHEN n.keep_second THEN k.kek_version_before"
                " ELSE k.kek_version END,"
                " wrapped_before = CASE WHEN n.keep_second THEN k.wrapped_before"
                " ELSE k.wrapped END,"
                " kek_version_first = LEAST(k.kek_version_first, n.kek_version)"
                " FROM ROWS FROM (unnest($1), unnest($2), unnest($3), unnest($4), unnest($5))"
                " n (name, version, kek_version, wrapped, keep_second)"
                " WHERE k.name = n.name AND k.version = n.version",
                parameters),
        forms.size());
}

void drop_second_forms(ByteView kek) {
    const Parameters<1> parameters = {{BYTEAOID}, {bytes_datum(kek)}};
    (void)execute(
        "UPDATE kms.data_key SET kek_version_before = NULL, wrapped_before = NULL"
        " WHERE kek = $1 AND wrapped_before IS NOT NULL",
        parameters);
}

void mark_data_key_destroyed(ByteView name, std::uint32_t version, std::uint32_t kek_version) {
    const Parameters<3> parameters = {
        {BYTEAOID, INT4OID, INT4OID},
        {bytes_datum(name), UInt32GetDatum(version), UInt32GetDatum(kek_version)}};
    require_changed(execute("UPDATE kms.data_key SET state = 'destroyed', wrapped = NULL,"
                            " wrapped_before = NULL, kek_version_before = NULL,"
                            " kek_version = GREATEST(kek_version, kek_version_before, $3)"
                            " WHERE name = $1 AND version = $2",
                            parameters),
                    1);
}

}  // namespace kms::pg
