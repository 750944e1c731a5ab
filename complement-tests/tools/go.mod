module github.com/hearth-im/hearth/complement-tests/tools

go 1.22
