#include "pg/blobs/reader.hpp"

#include <algorithm>

#include "pg/blobs/direct.hpp"
#include "pg/server/arguments.hpp"
#include "pg/tables/own_table.hpp"

namespace kms::pg {
namespace {

enum Column : AttrNumber { blob_id_column = 1, segment_column, chunk_column, data_column };

constexpr const char* missing = "Rows of kms.blob_chunk are missing, or are not those of the blob.";

[[noreturn]] void raise_corrupt(const OpenBlob& blob, const char* detail) {
    raise_error(blob.subject(), Code::corrupt, detail);
}

// Of a value that may stand outside of its row.
ByteView slice_of(Datum data, std::uint64_t offset, std::uint64_t length) {
    const auto* slice = reinterpret_cast<const varlena*>(PG_DETOAST_DATUM_SLICE(
        data, static_cast<std::int32_t>(offset), static_cast<std::int32_t>(length)));
    return bytes_of_packed(slice);
}

std::uint64_t length_of(Datum data) {
    return toast_raw_datum_size(data) - VARHDRSZ;
}

Status open_chunk(OpenBlob& blob, std::uint64_t number, ByteView sealed, std::uint64_t skip,
                  ByteSpan out) {
    const std::size_t length = sealed.size() - gcm_tag_length;
    if (skip == 0 && out.size() == length) {
        return blob.opener->open(number, sealed, out);
    }
    blob.chunk.resize(length);
    KMS_TRY(blob.opener->open(number, sealed, blob.chunk.span()));
    copy_bytes(blob.chunk.view().subspan(skip, out.size()), out);
    return {};
}

// What of chunks is in a range of the segment.
class CopyOfRange final : public ChunkTaker {
  public:
    CopyOfRange(std::uint64_t begin, std::uint64_t end, ByteSpan out)
        : begin_(begin), end_(end), out_(out) {}

    void take(std::uint64_t chunk, ByteView plaintext) override {
        const std::uint64_t chunk_begin = chunk * chunked::chunk_length;
        const std::uint64_t from = std::max(begin_, chunk_begin);
        const std::uint64_t to = std::min(end_, chunk_begin + plaintext.size());
        copy_bytes(plaintext.subspan(from - chunk_begin, to - from), out_.subspan(from - begin_));
    }

  private:
    std::uint64_t begin_;
    std::uint64_t end_;
    ByteSpan out_;
};

}  // namespace

// Bytes of one segment, begin to end, and the chunks that have them. The final chunk may have
// none: it comes with the last byte.
struct BlobReader::Part {
    const BlobSegment& segment;
    BlobLayout layout;
    std::uint64_t begin;
    std::uint64_t end;
    std::uint64_t first_chunk;
    std::uint64_t end_chunk;

    Part(const OpenBlob& blob, const BlobSegment& of, std::uint64_t from, std::uint64_t to)
        : segment(of),
          layout(blob.layout_of(of.length)),
          begin(from),
          end(to),
          first_chunk(from / chunked::chunk_length),
          end_chunk(to == of.length ? layout.chunks() : (to - 1) / chunked::chunk_length + 1) {}
};

BlobReader::BlobReader(OpenBlob& blob)
    : blob_(blob),
      table_(table_open(blob_chunk_table(), AccessShareLock)),
      index_(index_open(primary_key_of(table_), AccessShareLock)),
      row_memory_(AllocSetContextCreate(CurrentMemoryContext, "kms blob", ALLOCSET_DEFAULT_SIZES)) {
}

void BlobReader::end() {
    index_close(index_, AccessShareLock);
    table_close(table_, AccessShareLock);
    MemoryContextDelete(row_memory_);
}

SysScanDesc BlobReader::scan_rows(std::uint64_t segment, std::uint64_t first,
                                  std::uint64_t last) const {
    ScanKeyData keys[4];
    ScanKeyInit(&keys[0], blob_id_column, BTEqualStrategyNumber, F_UUID_EQ, uuid_datum(blob_.id));
    ScanKeyInit(&keys[1], segment_column, BTEqualStrategyNumber, F_INT8EQ,
                Int64GetDatum(static_cast<std::int64_t>(segment)));
    ScanKeyInit(&keys[2], chunk_column, BTGreaterEqualStrategyNumber, F_INT4GE,
                Int32GetDatum(static_cast<std::int32_t>(first)));
    ScanKeyInit(&keys[3], chunk_column, BTLessEqualStrategyNumber, F_INT4LE,
                Int32GetDatum(static_cast<std::int32_t>(last)));
    return systable_beginscan_ordered(table_, index_, GetActiveSnapshot(), 4, keys);
}

// NOT NULL is a constraint, which its owner may have dropped.
Datum BlobReader::data_of(HeapTuple tuple) const {
    bool is_null = false;
    const Datum data = heap_getattr(tuple, data_column, RelationGetDescr(table_), &is_null);
    if (is_null) {
        raise_corrupt(blob_, missing);
    }
    return data;
}

std::uint64_t BlobReader::count_rows() const {
    ScanKeyData key;
    ScanKeyInit(&key, blob_id_column, BTEqualStrategyNumber, F_UUID_EQ, uuid_datum(blob_.id));
    SysScanDesc scan = systable_beginscan_ordered(table_, index_, GetActiveSnapshot(), 1, &key);
    std::uint64_t count = 0;
    while (systable_getnext_ordered(scan, ForwardScanDirection) != nullptr) {
        ++count;
    }
    systable_endscan_ordered(scan);
    return count;
}

void BlobReader::find_segment(std::uint64_t offset) {
    const auto& segments = blob_.manifest.segments;
    if (offset < segment_begin_) {
        segment_ = 0;
        segment_begin_ = 0;
    }
    while (offset - segment_begin_ >= segments[segment_].length) {
        segment_begin_ += segments[segment_].length;
        ++segment_;
    }
}

void BlobReader::read_into(std::uint64_t offset, ByteSpan out) {
    while (!out.empty()) {
        find_segment(offset);
        const BlobSegment& segment = blob_.manifest.segments[segment_];
        const std::uint64_t begin = offset - segment_begin_;
        const std::uint64_t length = std::min<std::uint64_t>(out.size(), segment.length - begin);
        read_part(Part(blob_, segment, begin, begin + length), out.first(length));
        out = out.subspan(length);
        offset += length;
    }
}

ByteView BlobReader::read(std::uint64_t offset, std::size_t length) {
    in_blob(blob_, [&]() -> Status {
        blob_.piece.resize(length);
        return {};
    });
    read_into(offset, blob_.piece.span());
    return blob_.piece.view();
}

bool BlobReader::is_open(const Part& part) const {
    return blob_.is_direct || (blob_.opener && opened_ == part.segment.number);
}

void BlobReader::open_segment(const Part& part, ByteView header) {
    in_blob(blob_, [&]() -> Status {
        blob_.opener.reset();
        if (!std::ranges::equal(header.last(chunked::commitment_length), part.segment.commitment)) {
            return Error{Code::corrupt, "A segment is not the one that the manifest names."};
        }
        KMS_ASSIGN(blob_.opener,
                   chunked::MessageOpener::create(
                       blob_.keys->segment.view(),
                       bytes_of(blob_segment_context(blob_.id, part.segment.number)), header));
        return {};
    });
    opened_ = part.segment.number;
}

// Alone, where the part does not begin with it.
void BlobReader::fetch_header(const Part& part) {
    SysScanDesc scan = scan_rows(part.segment.number, 0, 0);
    const HeapTuple tuple = systable_getnext_ordered(scan, ForwardScanDirection);
    if (tuple == nullptr) {
        raise_corrupt(blob_, missing);
    }
    const Datum data = data_of(tuple);
    if (length_of(data) != part.layout.row(0).length) {
        raise_corrupt(blob_, missing);
    }
    open_segment(part, slice_of(data, 0, chunked::header_length));
    systable_endscan_ordered(scan);
}

void BlobReader::read_row(const Part& part, std::uint64_t number, Datum data, ByteSpan out) {
    const BlobLayout& layout = part.layout;
    const BlobRowPlace row = layout.row(number);
    if (length_of(data) != row.length) {
        raise_corrupt(blob_, missing);
    }
    const std::uint64_t first = std::max(part.first_chunk, row.first_chunk);
    const std::uint64_t end = std::min(part.end_chunk, row.first_chunk + row.chunks);
    const std::uint64_t chunks_begin = layout.offset_in_row(row, first);
    const std::uint64_t begin = is_open(part) ? chunks_begin : 0;
    const ByteView slice = slice_of(data, begin, layout.offset_in_row(row, end) - begin);
    if (!is_open(part)) {
        open_segment(part, slice.first(row.header));
    }
    const ByteView sealed = slice.subspan(chunks_begin - begin);
    if (blob_.is_direct) {
        CopyOfRange taker(part.begin, part.end, out);
        open_chunks_directly(blob_, {part.segment.number, first, end, layout, sealed}, taker);
        return;
    }
    open_chunks(part, first, end, sealed, out);
}

void BlobReader::open_chunks(const Part& part, std::uint64_t first, std::uint64_t end,
                             ByteView sealed, ByteSpan out) {
    in_blob(blob_, [&]() -> Status {
        for (std::uint64_t chunk = first; chunk < end; ++chunk) {
            const std::uint64_t chunk_begin = chunk * chunked::chunk_length;
            const std::uint64_t length = part.layout.plain_in_chunk(chunk);
            const std::uint64_t from = std::max(part.begin, chunk_begin);
            const std::uint64_t to = std::min(part.end, chunk_begin + length);
            KMS_TRY(open_chunk(blob_, chunk, sealed.first(length + gcm_tag_length),
                               from - chunk_begin, out.subspan(from - part.begin, to - from)));
            sealed = sealed.subspan(length + gcm_tag_length);
        }
        return {};
    });
}

void BlobReader::read_part(const Part& part, ByteSpan out) {
    if (part.first_chunk != 0 && !is_open(part)) {
        fetch_header(part);
    }
    std::uint64_t row = part.layout.row_of_chunk(part.first_chunk);
    const std::uint64_t last = part.layout.row_of_chunk(part.end_chunk - 1);
    SysScanDesc scan = scan_rows(part.segment.number, part.layout.row(row).first_chunk,
                                 part.layout.row(last).first_chunk);
    while (HeapTuple tuple = systable_getnext_ordered(scan, ForwardScanDirection)) {
        CHECK_FOR_INTERRUPTS();
        bool is_null = false;
        const auto chunk =
            DatumGetInt32(heap_getattr(tuple, chunk_column, RelationGetDescr(table_), &is_null));
        if (row > last || static_cast<std::uint64_t>(chunk) != part.layout.row(row).first_chunk) {
            raise_corrupt(blob_, missing);
        }
        MemoryContext caller = MemoryContextSwitchTo(row_memory_);
        read_row(part, row, data_of(tuple), out);
        MemoryContextSwitchTo(caller);
        MemoryContextReset(row_memory_);
        ++row;
    }
    if (row <= last) {
        raise_corrupt(blob_, missing);
    }
    systable_endscan_ordered(scan);
}

}  // namespace kms::pg
