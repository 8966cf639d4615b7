src/pg/wall.o: src/pg/wall.cpp src/pg/wall.hpp src/base/bytes.hpp \
 src/base/result.hpp src/base/escape.hpp src/pg/pg.hpp
src/pg/wall.hpp:
src/base/bytes.hpp:
src/base/result.hpp:
src/base/escape.hpp:
src/pg/pg.hpp:
