src/pg/latch_waiter.o: src/pg/latch_waiter.cpp src/pg/latch_waiter.hpp \
 src/client/waiter.hpp src/base/clock.hpp src/pg/pg.hpp src/pg/wall.hpp \
 src/base/bytes.hpp src/base/result.hpp
src/pg/latch_waiter.hpp:
src/client/waiter.hpp:
src/base/clock.hpp:
src/pg/pg.hpp:
src/pg/wall.hpp:
src/base/bytes.hpp:
src/base/result.hpp:
