#include "pg/keys/key_move.hpp"

#include "pg/server/arguments.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/session/key_use.hpp"

namespace kms::pg {

void refuse_move(const KeyMove& move, int sqlstate, const char* why, const char* hint) {
    ereport(ERROR,
            (errcode(sqlstate),
             errmsg("could not %s \"%s\": %s", move.action, shown_identifier(move.name), why),
             hint != nullptr ? errhint("%s", hint) : 0));
    pg_unreachable();
}

ListedVersions list_of_key(const char* action, ByteView name) {
    ListedVersions listed;
    if (const Failure failure = list_versions_of_key(use_of_identifier(action, name), listed)) {
        raise(failure);
    }
    return listed;
}

void require_same_key(const KeyMove& move) {
    for (const ListedVersion& listed : move.listed) {
        const DataKeyVersion* stored = with_number(move.stored, listed.version);
        if (stored != nullptr && stored->tag != listed.tag) {
            refuse_move(
                move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                psprintf("version %u of the data key and of the agent's key are not the same key",
                         listed.version),
                "Two keys have this name, which can be neither adopted nor handed back here any "
                "more. Bring the rows of one of them to a third key with CALL kms.reencrypt(), and "
                "go on with the other.");
        }
    }
}

}  // namespace kms::pg
