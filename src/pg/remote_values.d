src/pg/remote_values.o: src/pg/remote_values.cpp src/pg/values.hpp \
 src/pg/args.hpp src/base/bytes.hpp src/pg/pg.hpp src/pg/session.hpp \
 src/base/secret.hpp src/client/agent.hpp src/base/clock.hpp \
 src/base/result.hpp src/client/backoff.hpp src/client/waiter.hpp \
 src/client/child.hpp src/base/unique_fd.hpp src/client/log_lines.hpp \
 src/client/offer.hpp src/client/request.hpp src/wire/frame.hpp \
 src/wire/verbs.hpp src/crypto/algorithm.hpp src/client/key_cache.hpp \
 src/client/keys.hpp src/crypto/sealed.hpp src/pg/identity.hpp \
 src/pg/latch_waiter.hpp src/pg/wall.hpp
src/pg/values.hpp:
src/pg/args.hpp:
src/base/bytes.hpp:
src/pg/pg.hpp:
src/pg/session.hpp:
src/base/secret.hpp:
src/client/agent.hpp:
src/base/clock.hpp:
src/base/result.hpp:
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
src/client/key_cache.hpp:
src/client/keys.hpp:
src/crypto/sealed.hpp:
src/pg/identity.hpp:
src/pg/latch_waiter.hpp:
src/pg/wall.hpp:
