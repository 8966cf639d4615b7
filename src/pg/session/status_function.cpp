// status(): the session's key agent, for people. Starts nothing. ping() asks it.
#include "pg/server/arguments.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/rows.hpp"
#include "pg/session/agent_count.hpp"
#include "pg/session/asking.hpp"
#include "pg/session/settings.hpp"

namespace kms::pg {
namespace {

constexpr int columns = 13;

Datum capabilities_datum(const KeyAgent& agent) {
    const auto& capabilities = agent.capabilities();
    auto* words = allocate_many<Datum>(capabilities.size());
    int count = 0;
    for (const std::string& capability : capabilities) {
        words[count++] = text_datum(capability);
    }
    return PointerGetDatum(construct_array(words, count, TEXTOID, -1, false, TYPALIGN_INT));
}

// Milliseconds that a request took on the average.
double mean_latency(const AgentStatistics& statistics) {
    const std::chrono::duration<double, std::milli> busy = statistics.busy;
    return busy.count() / static_cast<double>(statistics.requests);
}

// The agent's own words are for whoever may see its command.
void fill_running(const KeyAgent& agent, Datum* values, bool* nulls) {
    values[2] = Int32GetDatum(agent.pid());
    nulls[2] = false;
    if (may_see_command()) {
        values[3] = text_datum(agent.product());
        values[4] = capabilities_datum(agent);
        nulls[3] = nulls[4] = false;
    }
}

Datum last_error_datum(const Error& error) {
    return text_datum(error.of_agent && !may_see_command() ? reason_of(error.code)
                                                           : std::string_view(error.text));
}

void fill_statistics(const AgentStatistics& statistics, Datum* values, bool* nulls) {
    values[5] = Int64GetDatum(static_cast<std::int64_t>(statistics.starts));
    values[6] = Int64GetDatum(static_cast<std::int64_t>(statistics.requests));
    values[7] = Int64GetDatum(static_cast<std::int64_t>(statistics.errors));
    values[8] =
        Int64GetDatum(static_cast<std::int64_t>(statistics.bytes_sent + statistics.bytes_received));
    if (statistics.requests != 0) {
        values[9] = Float8GetDatum(mean_latency(statistics));
        nulls[9] = false;
    }
    if (statistics.last_error) {
        values[10] = last_error_datum(*statistics.last_error);
        nulls[10] = false;
    }
}

void fill_agents(Datum* values) {
    const AgentCount agents = count_agents();
    values[11] = Int32GetDatum(agents.session);
    values[12] = Int32GetDatum(agents.server);
}

}  // namespace

KMS_FUNCTION(kms_ping) {
    const KeyUse use = use_of_identifier("have an answer of the key agent", {});
    std::chrono::duration<double, std::milli> took{};
    ask(use, [&](Session&, Line line) -> Status {
        const TimePoint began = Clock::now();
        KMS_TRY(ping(line));
        took = Clock::now() - began;
        return {};
    });
    PG_RETURN_FLOAT8(took.count());
}

KMS_FUNCTION(kms_status) {
    const Session& session = pg::session();
    const bool running = session.agent.running();
    Datum values[columns] = {CStringGetTextDatum(mode_name()), BoolGetDatum(running)};
    bool nulls[columns] = {false, false, true, true, true,  false, false,
                           false, false, true, true, false, false};
    if (running) {
        fill_running(session.agent, values, nulls);
    }
    fill_statistics(session.agent.statistics(), values, nulls);
    fill_agents(values);
    return row_datum(fcinfo, values, nulls);
}

}  // namespace kms::pg
