#include "agent/keyring/process.hpp"

#include <openssl/crypto.h>
#include <sys/stat.h>

#include <csignal>

#include "base/system.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

// Tables of OpenSSL 1's names, and sentences for errors: a third of a millisecond that a session
// would wait for. The configuration file, which may ask for a FIPS provider, is read.
void trim_openssl() {
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ADD_ALL_CIPHERS | OPENSSL_INIT_NO_ADD_ALL_DIGESTS |
                            OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS,
                        nullptr);
}

}  // namespace

Status prepare_process() {
    KMS_TRY(open_standard_descriptors());
    KMS_TRY(forbid_dumps());
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);  // beyond a file-size limit a write fails, as on a full disk
    signal(SIGCHLD, SIG_DFL);  // ignored, it would hide the passphrase command's exit code
    umask(S_IRWXG | S_IRWXO);
    trim_openssl();
    return {};
}

}  // namespace kms::agent
