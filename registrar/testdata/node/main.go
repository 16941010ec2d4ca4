// Command node stands in for a node's container: it shows that its node.json
// is there for it alone, and that its port is published.
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	l, err := net.Listen("tcp", ":5432")
	if err != nil {
		panic(err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(conn, report())
		conn.Close()
	}
}

// report tells who this is and what the file is like, without what is in it.
func report() string {
	info, err := os.Stat("/var/lib/postgresql/node.json")
	if err != nil {
		return err.Error()
	}
	content, err := os.ReadFile("/var/lib/postgresql/node.json")
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("uid %d reads %v, %d bytes", os.Getuid(), info.Mode(), len(content))
}
