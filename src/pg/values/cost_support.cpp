// What a call costs, for the planner: it puts cheap filters first, and shares dear calls out among
// workers. By the mode in which the session plans; a prepared plan may run in the other one.
//
// Measured with values of 32 bytes: an addition of two int8 takes 3 ns, a row of a sequential scan
// 250 ns, which PostgreSQL prices at 6 operators; encode or decode takes 280 ns, a round trip to an
// agent 5 to 60 us, by whether the processors sleep. So a call is worth 100 operators where one
// compares it with additions and 7 where with rows. The prices stand between the two, in the
// calls' own proportion, where a parallel plan is chosen about when it is the faster one.
#include <algorithm>

#include "pg/server/pg.hpp"
#include "pg/session/settings.hpp"

namespace kms::pg {
namespace {

// In units of cpu_operator_cost.
constexpr double value_price = 25;         // to seal or to open one
constexpr double round_trip_price = 4000;  // to a key agent
constexpr double rows_an_exchange = 1024;  // that the window forms read ahead

struct Form {
    double values = 1;       // that a call seals or opens
    double round_trips = 1;  // in remote mode
};

List* arguments_of(Node* call) {
    if (call != nullptr && IsA(call, FuncExpr)) {
        return castNode(FuncExpr, call)->args;
    }
    return NIL;
}

// What is declared for the first two arguments tells recode (two local ids) and the array forms.
struct Signature {
    Oid first = InvalidOid;
    Oid second = InvalidOid;
};

Signature signature_of(Oid function) {
    Oid* types = nullptr;
    int count = 0;
    (void)get_func_signature(function, &types, &count);
    return count > 1 ? Signature{types[0], types[1]} : Signature{};
}

Form form_of(const SupportRequestCost& request) {
    if (request.node != nullptr && IsA(request.node, WindowFunc)) {
        return {1, 1 / rows_an_exchange};
    }
    const Signature types = signature_of(request.funcid);
    if (types.first == INT4OID && types.second == INT4OID) {
        return {2, 2};
    }
    const List* arguments = arguments_of(request.node);
    if (OidIsValid(get_element_type(types.second)) && list_length(arguments) > 1) {
        auto* array = static_cast<Node*>(lsecond(arguments));
        return {std::max(1.0, likely_length(request.root, array)), 1};
    }
    return {};
}

void fill_in(SupportRequestCost& request) {
    const Form form = form_of(request);
    const double round_trips = mode() == Mode::remote ? form.round_trips : 0;
    request.startup = 0;
    request.per_tuple =
        cpu_operator_cost * (form.values * value_price + round_trips * round_trip_price);
}

}  // namespace

KMS_FUNCTION(kms_cost_support) {
    auto* request = PG_ARGISNULL(0) ? nullptr : reinterpret_cast<Node*>(PG_GETARG_POINTER(0));
    if (request == nullptr || !IsA(request, SupportRequestCost)) {
        return Datum{0};
    }
    fill_in(*castNode(SupportRequestCost, request));
    PG_RETURN_POINTER(request);
}

}  // namespace kms::pg
