src/pg/module.o: src/pg/module.cpp src/pg/pg.hpp src/pg/settings.hpp \
 src/base/key_list.hpp src/base/bytes.hpp src/client/agent.hpp \
 src/base/clock.hpp src/base/result.hpp src/client/backoff.hpp \
 src/client/waiter.hpp src/client/child.hpp src/base/unique_fd.hpp \
 src/client/log_lines.hpp src/client/offer.hpp src/client/request.hpp \
 src/wire/frame.hpp src/base/secret.hpp src/wire/verbs.hpp \
 src/crypto/algorithm.hpp
src/pg/pg.hpp:
src/pg/settings.hpp:
src/base/key_list.hpp:
src/base/bytes.hpp:
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
src/base/secret.hpp:
src/wire/verbs.hpp:
src/crypto/algorithm.hpp:
