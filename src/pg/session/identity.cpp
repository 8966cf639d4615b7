#include "pg/session/identity.hpp"

#include "pg/server/pg.hpp"

namespace kms::pg {
namespace {

// The strings of the role that was last asked for, replaced as a whole. A role that is renamed or
// dropped is read anew.
MemoryContext identity_context = nullptr;
IdentityTexts texts;
Oid texts_role = InvalidOid;
Oid texts_session_role = InvalidOid;

// What doc/protocol.md has in place of an address.
constexpr const char* unix_socket = "";
constexpr const char* no_client = "none";

bool is_of_internet(const SockAddr& address) {
    return address.addr.ss_family == AF_INET || address.addr.ss_family == AF_INET6;
}

// As PostgreSQL's inet_client_addr() shows it.
const char* shown_address(const SockAddr& address) {
    if (!is_of_internet(address)) {
        return unix_socket;
    }
    char host[NI_MAXHOST] = "";
    if (pg_getnameinfo_all(&address.addr, static_cast<int>(address.salen), host, sizeof(host),
                           nullptr, 0, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
                        errmsg("could not read the address of the session's client")));
    }
    clean_ipv6_addr(address.addr.ss_family, host);
    return pstrdup(host);
}

// A background worker's entry has an address of zeros.
bool is_of_client(const SockAddr& address) {
    return address.addr.ss_family != AF_UNSPEC;
}

// A parallel worker works for its leader's client. A setting that told of it would be the user's to
// change.
const SockAddr& address_of_leader() {
    const SockAddr* address = client_of_process(MyProc->lockGroupLeader->pid);
    if (address == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("the leader of this parallel worker has ended")));
    }
    return *address;
}

// As the process's entry of pg_stat_activity has it.
const char* client_address() {
    const SockAddr& address = IsParallelWorker() ? address_of_leader() : MyBEEntry->st_clientaddr;
    return is_of_client(address) ? shown_address(address) : no_client;
}

const char* or_empty(const char* text) {
    return text != nullptr ? text : "";
}

std::uint64_t role_changes = 0;

void note_role_change(Datum /*argument*/, CacheNumber /*cache*/, uint32 /*hash*/) {
    ++role_changes;
    texts_role = InvalidOid;
}

void read_texts() {
    texts.role = GetUserNameFromId(GetUserId(), false);
    texts.session_role = GetUserNameFromId(GetSessionUserId(), false);
    texts.database = or_empty(get_database_name(MyDatabaseId));
    texts.application = pstrdup(or_empty(application_name));
    texts.client = client_address();
    texts.pid = MyProcPid;
    texts.cluster = GetSystemIdentifier();
    ++texts.generation;
}

void read_for_current_role() {
    if (texts_role == GetUserId() && texts_session_role == GetSessionUserId()) {
        return;
    }
    if (identity_context == nullptr) {
        CacheRegisterSyscacheCallback(AUTHOID, note_role_change, 0);
        identity_context =
            AllocSetContextCreate(TopMemoryContext, "kms identity", ALLOCSET_SMALL_SIZES);
    }
    texts_role = InvalidOid;
    const std::uint64_t changes = role_changes;
    MemoryContextReset(identity_context);
    MemoryContext caller = MemoryContextSwitchTo(identity_context);
    read_texts();
    MemoryContextSwitchTo(caller);
    // Reading may itself bring news of a change.
    texts_role = changes == role_changes ? GetUserId() : InvalidOid;
    texts_session_role = GetSessionUserId();
}

}  // namespace

const IdentityTexts* identity_texts() {
    read_for_current_role();
    auto* copy = static_cast<IdentityTexts*>(palloc(sizeof(IdentityTexts)));
    *copy = texts;
    for (const char** text :
         {&copy->role, &copy->session_role, &copy->database, &copy->application, &copy->client}) {
        *text = pstrdup(*text);
    }
    return copy;
}

Identity make_identity(const IdentityTexts& from) {
    return {
        {"role", from.role},
        {"session_role", from.session_role},
        {"database", from.database},
        {"application", from.application},
        {"client", from.client},
        {"pid", std::to_string(from.pid)},
        {"cluster", std::to_string(from.cluster)},
    };
}

}  // namespace kms::pg
