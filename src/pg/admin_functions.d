src/pg/admin_functions.o: src/pg/admin_functions.cpp src/base/hex.hpp \
 src/base/bytes.hpp src/base/secret.hpp src/crypto/random.hpp \
 src/base/result.hpp src/pg/settings.hpp src/base/key_list.hpp \
 src/client/agent.hpp src/base/clock.hpp src/client/backoff.hpp \
 src/client/waiter.hpp src/client/child.hpp src/base/unique_fd.hpp \
 src/client/log_lines.hpp src/client/offer.hpp src/client/request.hpp \
 src/wire/frame.hpp src/wire/verbs.hpp src/crypto/algorithm.hpp \
 src/pg/values.hpp src/pg/args.hpp src/pg/pg.hpp src/pg/session.hpp \
 src/client/key_cache.hpp src/client/keys.hpp src/crypto/sealed.hpp \
 src/pg/identity.hpp src/pg/latch_waiter.hpp src/pg/wall.hpp
src/base/hex.hpp:
src/base/bytes.hpp:
src/base/secret.hpp:
src/crypto/random.hpp:
src/base/result.hpp:
src/pg/settings.hpp:
src/base/key_list.hpp:
src/client/agent.hpp:
src/base/clock.hpp:
src/client/backoff.hpp:
src/client/waiter.hpp:
src/client/child.hpp:
src/base/unique_fd.hpp:
src/client/log_lines.hpp:
src/client/offer.hpp:
src/client/request.hpp:
src/wire/frame.hpp:
src/wire/verbs.hpp:
src/crypto/algorithm.hpp:
src/pg/values.hpp:
src/pg/args.hpp:
src/pg/pg.hpp:
src/pg/session.hpp:
src/client/key_cache.hpp:
src/client/keys.hpp:
src/crypto/sealed.hpp:
src/pg/identity.hpp:
src/pg/latch_waiter.hpp:
src/pg/wall.hpp:
