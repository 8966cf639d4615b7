// Many of a kind in PostgreSQL's memory, which ereport() may jump away from.
#pragma once

#include <algorithm>
#include <span>
#include <type_traits>

#include "pg/server/pg.hpp"

namespace kms::pg {

// Uninitialised.
template <typename T>
T* allocate_many(std::size_t count) {
    static_assert(std::is_trivially_destructible_v<T>);
    // NOLINTNEXTLINE(bugprone-sizeof-expression): T may be a pointer
    const Size size = sizeof(T) * std::max<std::size_t>(count, 1);
    return static_cast<T*>(MemoryContextAllocHuge(CurrentMemoryContext, size));
}

// Added one by one.
template <typename T>
class Collected {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    void add(const T& item) {
        if (count_ == room_) {
            room_ = std::max<std::size_t>(4, 2 * room_);
            // NOLINTNEXTLINE(bugprone-sizeof-expression): T may be a pointer
            const Size size = room_ * sizeof(T);
            first_ = static_cast<T*>(first_ == nullptr ? palloc(size) : repalloc(first_, size));
        }
        first_[count_++] = item;
    }

    std::span<const T> all() const { return {first_, count_}; }

  private:
    T* first_ = nullptr;
    std::size_t count_ = 0;
    std::size_t room_ = 0;
};

}  // namespace kms::pg
