// encode_array, decode_array, decode_text_array and the forms that name a key for each element: a
// call for each element, all at once.
#include "pg/server/collected.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

// The elements that are not NULL, as calls, and what becomes of them.
struct Elements {
    ArrayType* shape;  // that of the argument
    int count;         // NULLs among them
    bool* nulls;
    std::size_t calls_count;
    Call* calls;
    varlena** results;

    std::span<const Call> all() const { return {calls, calls_count}; }
};

int element_count(const ArrayType* array) {
    return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

ByteView bytes_of_element(Datum element) {
    const auto* value = reinterpret_cast<const varlena*>(DatumGetPointer(element));
    return {reinterpret_cast<const Byte*>(VARDATA_ANY(value)), VARSIZE_ANY_EXHDR(value)};
}

// Elements of bytea or text.
Datum* take_apart(ArrayType* array, bool** nulls) {
    Datum* elements = nullptr;
    int count = 0;
    deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT, &elements, nulls,
                      &count);
    return elements;
}

Elements read_elements(FunctionCallInfo fcinfo, Call call) {
    ArrayType* array = PG_GETARG_ARRAYTYPE_P(1);
    Elements all = {array, element_count(array), nullptr, 0, nullptr, nullptr};
    const Datum* data = take_apart(array, &all.nulls);
    const auto calls = static_cast<int>(std::count(all.nulls, all.nulls + all.count, false));
    all.calls = allocate_many<Call>(calls);
    all.results = allocate_many<varlena*>(calls);
    for (int i = 0; i < all.count; ++i) {
        if (!all.nulls[i]) {
            call.data = bytes_of_element(data[i]);
            all.calls[all.calls_count++] = call;
        }
    }
    return all;
}

// Where in the array the call stands, `[2][3]`.
const char* place_of(const Elements& all, std::size_t call) {
    int index = 0;
    for (std::size_t calls = 0; all.nulls[index] || calls++ != call; ++index) {
    }
    int subscripts[MAXDIM];
    for (int dimension = ARR_NDIM(all.shape) - 1; dimension >= 0; --dimension) {
        const int size = ARR_DIMS(all.shape)[dimension];
        subscripts[dimension] = ARR_LBOUND(all.shape)[dimension] + index % size;
        index /= size;
    }
    const char* place = "";
    for (int dimension = 0; dimension < ARR_NDIM(all.shape); ++dimension) {
        place = psprintf("%s[%d]", place, subscripts[dimension]);
    }
    return place;
}

// Which element an error is about.
struct Element {
    const Elements& all;
    std::size_t call;
};

void add_context(void* argument) {
    const auto* element = static_cast<const Element*>(argument);
    errcontext("array element %s", place_of(element->all, element->call));
}

// Runs `act`, which may raise, about one element.
template <typename Act>
void about(Element element, Act&& act) {
    ErrorContextCallback callback = {error_context_stack, add_context, &element};
    error_context_stack = &callback;
    act();
    error_context_stack = callback.previous;
}

void raise_null_element(const char* array) {
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                    errmsg("an element of %s must not be NULL where that of data is not", array)));
}

bool same_shape(const ArrayType* a, const ArrayType* b) {
    return ARR_NDIM(a) == ARR_NDIM(b) &&
           std::equal(ARR_DIMS(a), ARR_DIMS(a) + ARR_NDIM(a), ARR_DIMS(b));
}

// An argument that has something for each element at the element's place.
struct Companion {
    int argument;
    const char* name;
    ByteView Call::*part;
    void (*check)(ByteView);  // raises
};

constexpr Companion contexts = {2, "contexts", &Call::context, check_context};
constexpr Companion key_identifiers = {0, "key_identifiers", &Call::identifier, check_identifier};

void set_each(FunctionCallInfo fcinfo, const Elements& all, const Companion& companion) {
    ArrayType* array = PG_GETARG_ARRAYTYPE_P(companion.argument);
    if (!same_shape(array, all.shape)) {
        ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
                        errmsg("%s must have the dimensions of data", companion.name)));
    }
    bool* nulls = nullptr;
    const Datum* given = take_apart(array, &nulls);
    std::size_t call = 0;
    for (int i = 0; i < all.count; ++i) {
        if (all.nulls[i]) {
            continue;
        }
        about({all, call}, [&] {
            if (nulls[i]) {
                raise_null_element(companion.name);
            }
            companion.check(bytes_of_element(given[i]));
        });
        all.calls[call++].*companion.part = bytes_of_element(given[i]);
    }
}

void transform_all(Way way, const Elements& all) {
    std::size_t done = 0;
    const Failure failure = transform(way, all.all(), all.results, done);
    if (failure) {
        about({all, done}, [&] { raise(failure); });
    }
}

Datum put_together(const Elements& all, Oid type) {
    auto* values = allocate_many<Datum>(all.count);
    for (int i = 0, call = 0; i < all.count; ++i) {
        values[i] = all.nulls[i] ? Datum{0} : PointerGetDatum(all.results[call++]);
    }
    return PointerGetDatum(construct_md_array(values, all.nulls, ARR_NDIM(all.shape),
                                              ARR_DIMS(all.shape), ARR_LBOUND(all.shape), type, -1,
                                              false, TYPALIGN_INT));
}

// What a function gets with its data: a local id or key_identifiers, a context or contexts.
struct Form {
    bool key_each;
    bool context_each;
};

constexpr Form plain = {false, false};
constexpr Form with_contexts = {false, true};
constexpr Form with_keys = {true, false};
constexpr Form with_keys_and_contexts = {true, true};

// The function's arguments, where only data may be NULL; false where it is.
bool read_arguments(FunctionCallInfo fcinfo, const char* action, Form form, Elements& all) {
    Call call = {action, 0, {}, {}};
    if (form.key_each) {
        required(fcinfo, key_identifiers.argument, key_identifiers.name);
    } else {
        call.local_id = required_int(fcinfo, 0, "local_id");
    }
    if (form.context_each) {
        required(fcinfo, contexts.argument, contexts.name);
    } else {
        call.context = required_context(fcinfo, 2);
    }
    if (PG_ARGISNULL(1)) {
        return false;
    }
    all = read_elements(fcinfo, call);
    if (form.key_each) {
        set_each(fcinfo, all, key_identifiers);
    }
    if (form.context_each) {
        set_each(fcinfo, all, contexts);
    }
    return true;
}

Datum encode_array(FunctionCallInfo fcinfo, Form form) {
    Elements all;
    if (!read_arguments(fcinfo, form.key_each ? "encode with key" : "encode", form, all)) {
        PG_RETURN_NULL();
    }
    transform_all(Way::seal, all);
    return put_together(all, BYTEAOID);
}

Datum decode_array(FunctionCallInfo fcinfo, Form form, Oid type) {
    Elements all;
    if (!read_arguments(fcinfo, form.key_each ? "decode with key" : "decode", form, all)) {
        PG_RETURN_NULL();
    }
    transform_all(Way::open, all);
    for (std::size_t i = 0; type == TEXTOID && i < all.calls_count; ++i) {
        about({all, i}, [&] { require_text(all.calls[i], all.results[i]); });
    }
    return put_together(all, type);
}

}  // namespace

KMS_FUNCTION(kms_encode_array) {
    return encode_array(fcinfo, plain);
}

KMS_FUNCTION(kms_encode_array_contexts) {
    return encode_array(fcinfo, with_contexts);
}

KMS_FUNCTION(kms_decode_array) {
    return decode_array(fcinfo, plain, BYTEAOID);
}

KMS_FUNCTION(kms_decode_array_contexts) {
    return decode_array(fcinfo, with_contexts, BYTEAOID);
}

KMS_FUNCTION(kms_decode_text_array) {
    return decode_array(fcinfo, plain, TEXTOID);
}

KMS_FUNCTION(kms_decode_text_array_contexts) {
    return decode_array(fcinfo, with_contexts, TEXTOID);
}

KMS_FUNCTION(kms_encode_with_array) {
    return encode_array(fcinfo, with_keys);
}

KMS_FUNCTION(kms_encode_with_array_contexts) {
    return encode_array(fcinfo, with_keys_and_contexts);
}

KMS_FUNCTION(kms_decode_with_array) {
    return decode_array(fcinfo, with_keys, BYTEAOID);
}

KMS_FUNCTION(kms_decode_with_array_contexts) {
    return decode_array(fcinfo, with_keys_and_contexts, BYTEAOID);
}

KMS_FUNCTION(kms_decode_with_text_array) {
    return decode_array(fcinfo, with_keys, TEXTOID);
}

KMS_FUNCTION(kms_decode_with_text_array_contexts) {
    return decode_array(fcinfo, with_keys_and_contexts, TEXTOID);
}

}  // namespace kms::pg
