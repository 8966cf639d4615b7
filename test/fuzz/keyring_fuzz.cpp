// Keyrings from arbitrary bytes: as files, and as what is sealed inside them.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "agent/keyring/keyring_format.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace kms;
    using namespace kms::agent;
    const ByteView bytes{data, size};
    static const std::string unlock_key(unlock_key_length, 'K');
    if (open_keyring(bytes, bytes_of(unlock_key))) {
        std::abort();  // the input cannot hold a tag made with this unlock key
    }
    if (const auto keyring = parse_entries(bytes)) {
        const SecretBytes again = write_entries(*keyring);
        if (!std::ranges::equal(again.view(), bytes)) {
            std::abort();
        }
    }
    return 0;
}
