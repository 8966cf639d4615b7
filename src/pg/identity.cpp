#include "pg/identity.hpp"

#include "pg/pg.hpp"

namespace kms::pg {
namespace {

// The strings of the role that was last asked for, replaced as a whole. A role that is renamed or
// dropped is read anew.
MemoryContext identity_context = nullptr;
IdentityTexts texts;
Oid texts_role = InvalidOid;
Oid texts_session_role = InvalidOid;

// Empty over a Unix socket, and in a parallel worker, which has no client.
const char* client_address() {
    LOCAL_FCINFO(call, 0);
    InitFunctionCallInfoData(*call, nullptr, 0, InvalidOid, nullptr, nullptr);
    const Datum address = inet_client_addr(call);
    return call->isnull ? "" : DatumGetCString(DirectFunctionCall1(inet_out, address));
}

const char* or_empty(const char* text) {
    return text != nullptr ? text : "";
}

std::uint64_t role_changes = 0;

void note_role_change(Datum /*argument*/, int /*cache*/, uint32 /*hash*/) {
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
