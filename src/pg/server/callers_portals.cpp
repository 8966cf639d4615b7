#include "pg/server/callers_portals.hpp"

namespace kms::pg {
namespace {

// PostgreSQL lists its portals to nobody, but each has a memory context of its own in this one.
MemoryContext context_of_portals() {
    static MemoryContext found = nullptr;
    for (MemoryContext context = TopMemoryContext->firstchild; found == nullptr;
         context = context->nextchild) {
        if (context == nullptr) {
            elog(ERROR, "the memory context of portals was not found");
        }
        found = strcmp(context->name, "TopPortalContext") == 0 ? context : nullptr;
    }
    return found;
}

// The portal without a name, a client's, is called <unnamed> there.
Portal portal_of(MemoryContext context) {
    Portal portal = GetPortalByName(context->ident);
    if (!PortalIsValid(portal) || portal->portalContext != context) {
        portal = GetPortalByName("");
    }
    if (!PortalIsValid(portal) || portal->portalContext != context) {
        elog(ERROR, "a portal was not found by its memory context");
    }
    return portal;
}

// The rows of a held one are in another context beside it.
template <typename Visit>
void for_each_portal(Visit&& visit) {
    for (MemoryContext context = context_of_portals()->firstchild; context != nullptr;) {
        const MemoryContext next = context->nextchild;
        if (strcmp(context->name, "PortalContext") == 0) {
            visit(portal_of(context));
        }
        context = next;
    }
}

bool was_there(const CallersPortals& before, Portal portal) {
    for (int i = 0; i < before.count; ++i) {
        if (before.all[i].portal == portal) {
            return true;
        }
    }
    return false;
}

// Of one session: what began later ends no earlier, and of what it saw running there is less. The
// oldest transaction may be the same for all.
bool is_older(const SnapshotData& one, const SnapshotData& other) {
    return TransactionIdPrecedes(one.xmax, other.xmax) ||
           (one.xmax == other.xmax && one.xcnt > other.xcnt);
}

}  // namespace

// A portal that is being run is neither run by anybody else nor dropped: so it stays the same one,
// and is known by its address.
CallersPortals shut_portals() {
    int count = 0;
    for_each_portal([&](Portal) { ++count; });
    if (count == 0 && ActivePortal != nullptr) {
        elog(ERROR, "the portal that is run was not found");
    }
    CallersPortals before = {static_cast<CallersPortal*>(MemoryContextAlloc(
                                 TopTransactionContext, sizeof(CallersPortal) * (count + 1))),
                             0};
    for_each_portal([&](Portal portal) {
        before.all[before.count++] = {portal, portal->status, portal->portalPinned};
        portal->status = PORTAL_ACTIVE;
    });
    return before;
}

void end_new_portals(const CallersPortals& before) {
    for_each_portal([&](Portal portal) {
        if (!was_there(before, portal)) {
            portal->portalPinned = false;
            PortalDrop(portal, false);
        }
    });
}

void put_back_portals(const CallersPortals& before) {
    for (int i = 0; i < before.count; ++i) {
        const CallersPortal& each = before.all[i];
        each.portal->status = each.status;
        each.portal->portalPinned = each.is_pinned;
    }
    pfree(before.all);
}

Snapshot oldest_snapshot_of_cursors() {
    Snapshot oldest = nullptr;
    for_each_portal([&](Portal portal) {
        const QueryDesc* query = portal->queryDesc;
        const Snapshot own = query != nullptr && portal != ActivePortal ? query->snapshot : nullptr;
        if (own != nullptr && (oldest == nullptr || is_older(*own, *oldest))) {
            oldest = own;
        }
    });
    return oldest;
}

}  // namespace kms::pg
