#include "agent/keyring/keyring_file_store.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr milliseconds lock_patience{5000};

}  // namespace

void KeyringFileStore::refresh() {
    if (refusal_ ? Clock::now() < next_attempt_ : access_.file().unchanged_since(mark_)) {
        return;
    }
    if (const Status reloaded = reload(); !reloaded) {
        refusal_ = Error{Code::unavailable, reloaded.error().text};
        next_attempt_ = Clock::now() + pause_;
        adopt(adopted().record());  // what was there can be told from what will be
    }
}

Result<const Keyring*> KeyringFileStore::keyring() {
    if (refusal_) {
        return *refusal_;
    }
    return KeyringStore::keyring();
}

Status KeyringFileStore::apply(const Change& change) {
    if (refusal_) {
        return *refusal_;
    }
    bool opened = false;
    const auto written = access_.update(
        [&](const KeyringHeader& header, Keyring& keyring) -> Status {
            KMS_TRY(check_not_older(header));
            KMS_TRY(check_continues(header, keyring));
            opened = true;
            if (!is_awaited()) {
                return Error{Code::unavailable, "nobody waits for this change any more"};
            }
            return change(keyring);
        },
        lock_patience);
    refresh();
    if (!written && !opened) {
        return Error{Code::unavailable, written.error().text};
    }
    return written ? Status() : written.error();
}

Status KeyringFileStore::reload() {
    KMS_ASSIGN(LoadedKeyring loaded, access_.load());
    KMS_TRY(check_not_older(loaded.header));
    KMS_TRY(check_continues(loaded.header, loaded.keyring));
    access_.file().make_durable(loaded.mark);
    mark_ = std::move(loaded.mark);
    newest_ = loaded.header;
    refusal_.reset();
    adopt(std::move(loaded.keyring));
    return {};
}

Status KeyringFileStore::check_not_older(const KeyringHeader& header) const {
    if (newest_ && header.id != newest_->id) {
        return Error{Code::unavailable, "another keyring has been put in the place of " +
                                            access_.file().path() +
                                            ": start the agent again if that is right"};
    }
    if (newest_ && header.generation < newest_->generation) {
        return Error{Code::unavailable, "an older state of " + access_.file().path() +
                                            " has been put back: start the agent again if that is "
                                            "right"};
    }
    return {};
}

// One generation is one state.
Status KeyringFileStore::check_continues(const KeyringHeader& header,
                                         const Keyring& keyring) const {
    const bool is_same_generation = newest_ && header.generation == newest_->generation;
    if (is_same_generation ? keyring.is_like(adopted()) : keyring.continues(adopted())) {
        return {};
    }
    return Error{Code::unavailable, "an older state of " + access_.file().path() +
                                        " has been put back and changed, and lacks what this agent "
                                        "has seen: start the agent again if that is right"};
}

}  // namespace kms::agent
