#include "pg/left_portals.hpp"

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

bool is_run_at_commit(const PortalData& portal) {
    return portal.portalPinned || (portal.cursorOptions & CURSOR_OPT_HOLD) != 0;
}

// nullptr: not one that a COMMIT would run. The portal without a name, a client's, is never one.
Portal portal_in(MemoryContext context) {
    Portal portal = context->ident != nullptr ? GetPortalByName(context->ident) : nullptr;
    return PortalIsValid(portal) && is_run_at_commit(*portal) ? portal : nullptr;
}

bool is_kept(const Portals& kept, const PortalData& portal) {
    ListCell* cell = nullptr;
    foreach (cell, kept.names) {
        if (strcmp(static_cast<const char*>(lfirst(cell)), portal.name) == 0) {
            return true;
        }
    }
    return false;
}

void end(Portal portal) {
    if (portal->portalPinned) {
        UnpinPortal(portal);
    }
    PortalDrop(portal, false);
}

}  // namespace

Portals portals_to_keep() {
    Portals kept = {NIL};
    for (MemoryContext context = context_of_portals()->firstchild; context != nullptr;
         context = context->nextchild) {
        if (const Portal portal = portal_in(context)) {
            MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
            kept.names = lappend(kept.names, pstrdup(portal->name));
            MemoryContextSwitchTo(caller);
        }
    }
    return kept;
}

void end_other_portals(const Portals& kept) {
    for (MemoryContext context = context_of_portals()->firstchild; context != nullptr;) {
        const Portal portal = portal_in(context);
        context = context->nextchild;
        if (portal != nullptr && !is_kept(kept, *portal)) {
            end(portal);
        }
    }
    list_free_deep(kept.names);
}

}  // namespace kms::pg
