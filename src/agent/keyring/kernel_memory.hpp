// unlock keys that were derived from a passphrase, kept by the kernel (keyrings(7)) so that the
// next process of the same user need not derive them again.
//
// An unlock key stands in the user keyring as a key of the type "user". Its description has the
// salt and the cost: after a rekey it is not found. Only processes of the same user may find and
// read it; it is not written to swap, and the kernel destroys it when its time is over.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "agent/keyring/asking_turn.hpp"
#include "agent/keyring/keyring_format.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace kms::agent {

class KernelMemory {
  public:
    using Complain = std::function<void(std::string_view)>;

    struct Terms {
        std::chrono::seconds time;  // from a derivation on, however often the unlock key is used
        std::string keyring;        // the file at which agents take turns
        std::chrono::seconds patience;  // of one that waits for its turn
    };

    // `complain` hears once why the kernel refuses (a container, a quota); everything then works as
    // without this memory.
    KernelMemory(Terms terms, Complain complain)
        : terms_(std::move(terms)), complain_(std::move(complain)) {}

    // Before somebody is asked for what is not there: another agent may be about to leave it.
    // None, at once, where the kernel refuses: nothing would be left.
    std::unique_ptr<AskingTurn> wait_for_turn(const std::function<bool()>& is_needless) const;

    // Empty where there is none. Whoever runs as the same user can have put it there, so it is to
    // be checked like any other unlock key: by opening the keyring with it.
    SecretBytes recall(const UnlockRecipe& recipe);

    void keep(const UnlockRecipe& recipe, ByteView unlock_key);
    void drop(const UnlockRecipe& recipe);

    // Every unlock key that is kept for this user; returns how many. Code::io where the kernel
    // refuses.
    static Result<std::size_t> drop_all();

  private:
    void complain_once(std::string_view doing);

    Terms terms_;
    Complain complain_;
    bool refuses_ = false;
};

}  // namespace kms::agent
