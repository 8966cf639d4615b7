#include "agent/keyring/key_store.hpp"

#include <poll.h>

#include "base/floor.hpp"

namespace kms::agent {

// Of a pipe that nobody reads, or a socket that was closed.
bool KeyStore::is_awaited() const {
    pollfd client{client_, 0, 0};
    return client_ < 0 || poll(&client, 1, 0) <= 0 || (client.revents & (POLLERR | POLLHUP)) == 0;
}

}  // namespace kms::agent
