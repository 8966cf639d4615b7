#include "crypto/chunked_reader.hpp"

#include <algorithm>

#include "base/floor.hpp"

namespace kms::chunked {
namespace {

Error no_room() {
    return {Code::invalid, "no room for a chunk"};
}

Error cut_short() {
    return {Code::corrupt, "the message is cut short"};
}

}  // namespace

MessageReader::MessageReader(ByteView input_key, ByteView context)
    : input_key_(SecretBytes::copy_of(input_key)), context_(SecretBytes::copy_of(context)) {
    held_.reserve(sealed_chunk_length);
}

Result<MessageReader> MessageReader::create(ByteView input_key, ByteView context) {
    if (input_key.size() != key_length) {
        return Error{Code::invalid, "a message's input key has 32 bytes"};
    }
    return MessageReader(input_key, context);
}

Result<std::size_t> MessageReader::read(ByteView& piece, ByteSpan out) {
    if (failure_) {
        return *failure_;
    }
    if (out.size() < chunk_length) {
        return no_room();
    }
    KMS_TRY(read_header(piece));
    if (opener_ && held_.empty() && piece.size() >= sealed_chunk_length) {
        const ByteView sealed = piece.first(sealed_chunk_length);
        piece = piece.subspan(sealed_chunk_length);
        return open(sealed, out);
    }
    if (!opener_ || !fill(piece, sealed_chunk_length)) {
        return std::size_t{0};
    }
    auto opened = open(held_.view(), out);
    held_.clear();
    return opened;
}

Result<std::size_t> MessageReader::finish(ByteSpan out) {
    if (failure_) {
        return *failure_;
    }
    if (!opener_ || held_.size() < gcm_tag_length) {
        return fail(cut_short());
    }
    if (out.size() < held_.size() - gcm_tag_length) {
        return no_room();
    }
    KMS_ASSIGN(const std::size_t length, open(held_.view(), out));
    failure_ = Error{Code::invalid, "the message has been read to its end"};
    return length;
}

// Whether that many bytes are held now.
bool MessageReader::fill(ByteView& piece, std::size_t length) {
    const std::size_t taken = std::min(piece.size(), length - held_.size());
    held_.append(piece.first(taken));
    piece = piece.subspan(taken);
    return held_.size() == length;
}

Status MessageReader::read_header(ByteView& piece) {
    if (opener_ || !fill(piece, header_length)) {
        return {};
    }
    auto opener = MessageOpener::create(input_key_.view(), context_.view(), held_.view());
    if (!opener) {
        return fail(std::move(opener.error()));
    }
    opener_ = std::move(*opener);
    input_key_.release();
    held_.clear();
    return {};
}

Result<std::size_t> MessageReader::open(ByteView sealed, ByteSpan out) {
    const ByteSpan plaintext = out.first(sealed.size() - gcm_tag_length);
    if (Status opened = opener_->open(next_, sealed, plaintext); !opened) {
        return fail(std::move(opened.error()));
    }
    ++next_;
    return plaintext.size();
}

Error MessageReader::fail(Error error) {
    failure_ = std::move(error);
    return *failure_;
}

}  // namespace kms::chunked
