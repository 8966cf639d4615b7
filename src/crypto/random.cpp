#include "crypto/random.hpp"

#include <openssl/rand.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <new>

#include "crypto/ossl.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

// From 1, so that 0 stands for state that was never drawn.
std::atomic<unsigned> epoch{1};

void count_fork() {
    epoch.fetch_add(1, std::memory_order_relaxed);
}

// Fails only for want of memory.
bool watch_forks() {
    if (pthread_atfork(nullptr, nullptr, count_fork) != 0) {
        throw std::bad_alloc();
    }
    return true;
}

}  // namespace

Status random_secret(ByteSpan out) {
    if (RAND_priv_bytes_ex(nullptr, out.data(), out.size(), 0) != 1) {
        return ossl::failure("random bytes");
    }
    return {};
}

Status random_public(ByteSpan out) {
    if (RAND_bytes_ex(nullptr, out.data(), out.size(), 0) != 1) {
        return ossl::failure("random bytes");
    }
    return {};
}

unsigned process_epoch() {
    [[maybe_unused]] static const bool watching = watch_forks();
    return epoch.load(std::memory_order_relaxed);
}

[[gnu::hot]] Status RandomPool::take(ByteSpan out) {
    if (out.size() > block) {
        return random_public(out);
    }
    const unsigned now = process_epoch();
    if (epoch_ != now || block - used_ < out.size()) {
        used_ = block;
        KMS_TRY(random_public(bytes_.span()));
        epoch_ = now;
        used_ = 0;
    }
    copy_bytes(bytes_.view().subspan(used_, out.size()), out);
    used_ += out.size();
    return {};
}

void RandomPool::wipe() noexcept {
    kms::wipe(bytes_.span());
    used_ = block;
}

}  // namespace kms
