// The trigger that keeps a plaintext in step with an encrypted column opens whatever somebody
// writes there. So it opens under the key and the context expression alone that the column had when
// the trigger was made, and for those alone who may open by themselves: PostgreSQL side.
#pragma once

#include "pg/columns/registry.hpp"

namespace kms::pg {

// As the trigger's arguments have it: the key in the spelling of kms.keys, and the expression; "":
// the empty context.
struct OpensAs {
    const char* key;
    const char* context;
};

OpensAs opens_as(const SealedAs& sealed_as);

// 55000 where something else is registered now.
void require_opens_as(const OpensAs& trigger, const RegisteredColumn& column);

// 42501 unless the current role may execute kms.decode_with or kms.decode_with_text. Who has a
// value compared, or sealed otherwise, learns what it is too, where it can be guessed.
void require_may_open(const char* table, const char* column);

// The same of who writes a row. What a foreign key's action writes, it does in the name of the
// table's owner, whoever has changed what the key refers to.
void require_writer_may_open(const char* table, const char* column);

bool may_execute(Oid role, Oid function);

}  // namespace kms::pg
