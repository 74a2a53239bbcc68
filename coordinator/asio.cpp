// The parts of Asio and Beast that need not be compiled into every translation unit.
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
