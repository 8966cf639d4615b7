// C++ objects that both sides work on. ereport() may jump away from all of them, so they
// go with a memory context, which destroys them and so wipes what is secret in them.
#pragma once

#include <new>
#include <type_traits>

#include "pg/server/pg.hpp"

namespace kms::pg {

template <typename T>
T& keep_in(MemoryContext context) {
    static_assert(std::is_nothrow_default_constructible_v<T> && alignof(T) <= MAXIMUM_ALIGNOF);
    struct Kept {
        MemoryContextCallback callback;
        T object;
    };
    auto* kept = static_cast<Kept*>(MemoryContextAlloc(context, sizeof(Kept)));
    new (&kept->object) T;
    kept->callback = {[](void* object) { static_cast<T*>(object)->~T(); }, &kept->object, nullptr};
    MemoryContextRegisterResetCallback(context, &kept->callback);
    return kept->object;
}

}  // namespace kms::pg
