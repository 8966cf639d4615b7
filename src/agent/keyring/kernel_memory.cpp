#include "agent/keyring/kernel_memory.hpp"

#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/hex.hpp"
#include "base/system.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

// The C library has no wrappers for these calls.
using Serial = std::int32_t;

constexpr const char* type = "user";
constexpr std::string_view prefix = "kms-agent:";

// The user's (KEY_USR_...) rights to view, read, find and link. Nobody may change the key, and
// whoever has come into its possession with a keyring of another user has no right at all.
constexpr unsigned long permissions = 0x001b0000;

template <typename... Arguments>
long keyctl(unsigned long operation, Arguments... arguments) {
    return syscall(SYS_keyctl, operation, arguments...);
}

std::string description_of(const UnlockRecipe& recipe) {
    const ScryptCost& cost = recipe.cost;
    return std::string(prefix) + to_hex(recipe.salt) + ':' + std::to_string(cost.log2_n) + ',' +
           std::to_string(cost.r) + ',' + std::to_string(cost.p);
}

long find(const UnlockRecipe& recipe) {
    return keyctl(KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, type, description_of(recipe).c_str(), 0);
}

bool is_absence(int error) {
    return error == ENOKEY || error == EKEYEXPIRED || error == EKEYREVOKED;
}

bool share(long key, std::chrono::seconds time) {
    return keyctl(KEYCTL_SET_TIMEOUT, key, time.count()) == 0 &&
           keyctl(KEYCTL_SETPERM, key, permissions) == 0 &&
           keyctl(KEYCTL_LINK, key, KEY_SPEC_USER_KEYRING) == 0;
}

// Made in the process's own keyring, so that nobody finds it before it has its time and its rights.
bool add(const std::string& description, ByteView unlock_key, std::chrono::seconds time) {
    const long key = syscall(SYS_add_key, type, description.c_str(), unlock_key.data(),
                             unlock_key.size(), KEY_SPEC_PROCESS_KEYRING);
    if (key < 0) {
        return false;
    }
    const bool shared = share(key, time);
    const int error = errno;
    keyctl(KEYCTL_UNLINK, key, KEY_SPEC_PROCESS_KEYRING);
    errno = error;
    return shared;
}

Result<std::vector<Serial>> keys_of_user() {
    std::vector<Serial> keys;
    long length = 0;
    do {
        keys.resize(static_cast<std::size_t>(length) / sizeof(Serial));
        length =
            keyctl(KEYCTL_READ, KEY_SPEC_USER_KEYRING, keys.data(), keys.size() * sizeof(Serial));
        if (length < 0) {
            return system_error("the kernel does not show the keys of this user");
        }
    } while (static_cast<std::size_t>(length) > keys.size() * sizeof(Serial));
    keys.resize(static_cast<std::size_t>(length) / sizeof(Serial));
    return keys;
}

// The kernel writes "type;uid;gid;permissions;description".
bool is_ours(Serial key) {
    std::array<char, 512> text{};
    if (keyctl(KEYCTL_DESCRIBE, key, text.data(), text.size() - 1) < 0) {
        return false;
    }
    const std::string_view shown = text.data();
    return shown.starts_with(std::string(type) + ';') &&
           shown.substr(shown.rfind(';') + 1).starts_with(prefix);
}

}  // namespace

SecretBytes KernelMemory::recall(const UnlockRecipe& recipe) {
    const long key = find(recipe);
    SecretBytes unlock_key(unlock_key_length);
    const long length =
        key < 0 ? key : keyctl(KEYCTL_READ, key, unlock_key.data(), unlock_key.size());
    if (length < 0 && !is_absence(errno)) {
        complain_once("find");
    }
    return length == static_cast<long>(unlock_key_length) ? std::move(unlock_key) : SecretBytes();
}

void KernelMemory::keep(const UnlockRecipe& recipe, ByteView unlock_key) {
    if (!add(description_of(recipe), unlock_key, terms_.time)) {
        complain_once("remember");
    }
}

void KernelMemory::drop(const UnlockRecipe& recipe) {
    if (const long key = find(recipe); key >= 0) {
        keyctl(KEYCTL_INVALIDATE, key);
    }
}

Result<std::size_t> KernelMemory::drop_all() {
    KMS_ASSIGN(const std::vector<Serial> keys, keys_of_user());
    std::size_t dropped = 0;
    for (const Serial key : keys) {
        if (is_ours(key) && keyctl(KEYCTL_INVALIDATE, key) == 0) {
            ++dropped;
        }
    }
    return dropped;
}

std::unique_ptr<AskingTurn> KernelMemory::wait_for_turn(
    const std::function<bool()>& is_needless) const {
    if (refuses_) {
        return nullptr;
    }
    return std::make_unique<AskingTurn>(terms_.keyring, terms_.patience, is_needless);
}

void KernelMemory::complain_once(std::string_view doing) {
    refuses_ = true;
    const Error reason =
        system_error("the kernel does not " + std::string(doing) + " the key of the passphrase");
    if (complain_) {
        complain_(reason.text);
        complain_ = nullptr;
    }
}

}  // namespace kms::agent
