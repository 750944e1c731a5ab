package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// What an image with a whole cluster holds. It is one where `database` is there.
const (
	database   = "/postgres/data"
	programs   = "/postgres/bin"
	balancer   = "/haproxy.cfg"
	bothInOne  = "/data/haproxy.pem"
	nodes      = 3
	redisPort  = 6379
	firstPort  = 8001
	patience   = 60 * time.Second
	databaseAt = "postgres://hearth@%2Fpostgres/hearth"
)

// owner is whom the files of the database belong to: PostgreSQL does not run as root.
const owner = 70

func isCluster() bool {
	_, err := os.Stat(database)
	return err == nil
}

// runCluster starts PostgreSQL, Redis, the nodes and HAProxy, and ends with the first of them that ends, or when it is told to.
func runCluster(name string) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	// Left over where the container was killed. Its number may be that of another process now.
	if err := os.Remove(database + "/postmaster.pid"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ended := make(chan string, nodes+3)
	await := func(network, address string) error { return await(ended, network, address) }
	postgres, err := start(ended, owner, nil, programs+"/postgres", "-D", database, "-k", "/postgres",
		"-c", "listen_addresses=", "-c", "max_connections=60", "-c", "shared_buffers=16MB", "-c", "timezone=GMT", "-c", "log_timezone=GMT")
	if err != nil {
		return err
	}
	redis, err := start(ended, 0, nil, "/redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/data")
	if err != nil {
		return err
	}
	if err := await("unix", "/postgres/.s.PGSQL.5432"); err != nil {
		return err
	}
	if err := await("tcp", fmt.Sprintf("127.0.0.1:%d", redisPort)); err != nil {
		return err
	}
	others := []*os.Process{redis}
	front := []string{"HEARTH_HTTP=:8008", "HEARTH_HTTPS=:8448", "HEARTH_CERTIFICATE=" + bothInOne}
	for number := range nodes {
		port := firstPort + number
		address := fmt.Sprintf("127.0.0.1:%d", port)
		node, err := start(ended, 0, []string{
			"HEARTH__SERVER__NAME=" + name,
			fmt.Sprintf("HEARTH__SERVER__CONTROL_SOCKET=/data/control%d.sock", number),
			"HEARTH__STORE__URL=" + databaseAt,
			"HEARTH__STORE__CONNECTIONS=4",
			fmt.Sprintf("HEARTH__REDIS__URL=redis://127.0.0.1:%d", redisPort),
			fmt.Sprintf("HEARTH__LISTEN__ADDRESSES=[%q]", address),
			fmt.Sprintf("HEARTH__LISTEN__HTTPS_ADDRESSES=[%q]", fmt.Sprintf("127.0.0.1:%d", port+1000)),
			"HEARTH__LISTEN__BEHIND_PROXY=true",
		}, homeserver, "serve", "--config", "/hearth.toml")
		if err != nil {
			return err
		}
		others = append(others, node)
		front = append(front, fmt.Sprintf("HEARTH_NODE_%d=%s", number+1, address))
		// The first makes the database and the signing key.
		if err := await("http", address); err != nil {
			return err
		}
	}
	haproxy, err := start(ended, 0, front, "/haproxy", "-db", "-f", balancer)
	if err != nil {
		return err
	}
	select {
	case which := <-ended:
		return fmt.Errorf("%s ended", which)
	case <-told:
	}
	for _, process := range append(others, haproxy) {
		process.Signal(syscall.SIGTERM)
	}
	for range len(others) + 1 {
		<-ended
	}
	postgres.Signal(syscall.SIGINT)
	<-ended
	return nil
}

// start runs a program as a user, whose end `ended` is told.
func start(ended chan<- string, user uint32, environment []string, program string, arguments ...string) (*os.Process, error) {
	command := exec.Command(program, arguments...)
	command.Env = append(os.Environ(), environment...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	if err := command.Start(); err != nil {
		return nil, err
	}
	go func() {
		if err := command.Wait(); err != nil {
			log.Printf("%s: %v", program, err)
		}
		ended <- program
	}()
	return command.Process, nil
}

// await returns once something takes connections there, or a node is ready, unless a program ends before that.
func await(ended <-chan string, network, address string) error {
	for begin := time.Now(); ; {
		err := ask(network, address)
		if err == nil {
			return nil
		}
		if time.Since(begin) > patience {
			return err
		}
		select {
		case which := <-ended:
			return fmt.Errorf("%s ended", which)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func ask(network, address string) error {
	if network != "http" {
		connection, err := net.Dial(network, address)
		if err != nil {
			return err
		}
		return connection.Close()
	}
	answer, err := http.Get("http://" + address + "/health/ready")
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}
