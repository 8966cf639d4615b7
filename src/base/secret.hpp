// Bytes that wipe themselves: every key, plaintext and passphrase lives in one of these.
#pragma once

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/bytes.hpp"

namespace kms {

// As explicit_bzero does it, but inlined where the size is known. OPENSSL_cleanse goes by eight
// bytes at a time, which costs a sixth of the cryptography of a large value.
inline void wipe(ByteSpan bytes) noexcept {
    if (!bytes.empty()) {
        std::memset(bytes.data(), 0, bytes.size());
        __asm__ __volatile__("" : : "r"(bytes.data()) : "memory");
    }
}

// A fixed number of secret bytes, in place.
template <std::size_t N>
class SecretArray {
  public:
    SecretArray() = default;
    ~SecretArray() { wipe(bytes_); }
    SecretArray(const SecretArray&) = delete;
    SecretArray& operator=(const SecretArray&) = delete;

    static constexpr std::size_t size() { return N; }
    ByteSpan span() { return bytes_; }
    ByteView view() const { return bytes_; }

  private:
    std::array<Byte, N> bytes_{};
};

// Secret bytes on the heap: moves, never copies, and wipes whatever it lets go of, old storage
// included when it grows. Throws std::bad_alloc. New bytes are not initialised.
class SecretBytes {
  public:
    SecretBytes() = default;
    explicit SecretBytes(std::size_t size) { resize(size); }
    ~SecretBytes() { release(); }

    SecretBytes(const SecretBytes&) = delete;
    SecretBytes& operator=(const SecretBytes&) = delete;
    SecretBytes(SecretBytes&& other) noexcept { swap(other); }
    SecretBytes& operator=(SecretBytes&& other) noexcept {
        SecretBytes(std::move(other)).swap(*this);
        return *this;
    }

    static SecretBytes copy_of(ByteView bytes) {
        SecretBytes copy;
        copy.append(bytes);
        return copy;
    }

    Byte* data() { return data_; }
    const Byte* data() const { return data_; }
    std::size_t size() const { return size_; }
    std::size_t capacity() const { return capacity_; }
    bool empty() const { return size_ == 0; }
    ByteSpan span() { return {data_, size_}; }
    ByteView view() const { return {data_, size_}; }

    void reserve(std::size_t capacity) {
        if (capacity > capacity_) {
            reallocate(capacity);
        }
    }

    void resize(std::size_t size) {
        if (size > capacity_) {
            reallocate(std::max(size, capacity_ + capacity_ / 2));
        }
        if (size < size_) {
            wipe({data_ + size, size_ - size});
        }
        size_ = size;
    }

    // Adds `count` bytes at the end and returns them.
    ByteSpan extend(std::size_t count) {
        if (count > capacity_ - size_) {
            reallocate(std::max(size_ + count, capacity_ + capacity_ / 2));
        }
        size_ += count;
        return span().last(count);
    }

    // `bytes` must not be a view of this object.
    void append(ByteView bytes) {
        std::copy(bytes.begin(), bytes.end(), extend(bytes.size()).data());
    }

    void clear() { resize(0); }

    void release() noexcept {
        if (data_ != nullptr) {
            wipe({data_, size_});
            std::free(data_);
        }
        data_ = nullptr;
        size_ = capacity_ = 0;
    }

    void swap(SecretBytes& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
    }

  private:
    // Bytes between size and capacity were wiped when they were let go of, so only the live ones
    // need wiping here.
    void reallocate(std::size_t capacity) {
        auto* fresh = static_cast<Byte*>(std::malloc(capacity));
        if (fresh == nullptr) {
            throw std::bad_alloc();
        }
        std::copy(data_, data_ + size_, fresh);
        const std::size_t size = size_;
        release();
        data_ = fresh;
        size_ = size;
        capacity_ = capacity;
    }

    Byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

}  // namespace kms
