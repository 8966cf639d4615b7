// kms/1 on two descriptors, from the first byte to the end of input.
#pragma once

#include "agent/keyring/key_store.hpp"
#include "agent/service/offered_verbs.hpp"
#include "base/result.hpp"

namespace kms::agent {

// Reads ahead, answers in the order of the requests, and flushes when no complete request is left
// to read. Memory is bounded in both directions: nothing is read while replies wait to be written.
// A verb that is not offered is `unsupported`. The store looks for changes after each read and each
// write, however long that took. Returns at the end of input. Code::protocol: the client broke
// kms/1, stopped inside a frame, or had its hello refused, after which nothing is served; Code::io.
Status serve(int in, int out, KeyStore& store, const OfferedVerbs& offered);

// Answers the client's `hello` with the reason why there is nothing to serve, so that it reaches
// the person who asked for a key.
Status refuse_to_serve(int in, int out, const Error& reason);

}  // namespace kms::agent
