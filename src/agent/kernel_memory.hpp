// KEKs that were derived from a passphrase, kept by the kernel (keyrings(7)) so that the next
// process of the same user need not derive them again.
//
// A KEK stands in the user keyring as a key of the type "user". Its description has the salt and
// the cost: after a rekey it is not found. Only processes of the same user may find and read it; it
// is not written to swap, and the kernel destroys it when its time is over.
#pragma once

#include <chrono>
#include <functional>
#include <string_view>

#include "agent/keyring_format.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace kms::agent {

class KernelMemory {
  public:
    using Complain = std::function<void(std::string_view)>;

    // `time`: from a derivation on, however often the KEK is used. `complain` hears once why the
    // kernel refuses (a container, a quota); everything then works as without this memory.
    KernelMemory(std::chrono::seconds time, Complain complain)
        : time_(time), complain_(std::move(complain)) {}

    // Empty where there is none. Whoever runs as the same user can have put it there, so it is to
    // be checked like any other KEK: by opening the keyring with it.
    SecretBytes recall(const KekRecipe& recipe);

    void keep(const KekRecipe& recipe, ByteView kek);
    void drop(const KekRecipe& recipe);

    // Every KEK that is kept for this user; returns how many. Code::io where the kernel refuses.
    static Result<std::size_t> drop_all();

  private:
    void complain_once(std::string_view doing);

    std::chrono::seconds time_;
    Complain complain_;
};

}  // namespace kms::agent
