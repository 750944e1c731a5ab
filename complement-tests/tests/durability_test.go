package hearth_tests

import (
	"context"
	"fmt"
	"net/url"
	"testing"

	"github.com/docker/docker/api/types/container"
	docker "github.com/docker/docker/client"
	"github.com/tidwall/gjson"

	"github.com/matrix-org/complement"
	"github.com/matrix-org/complement/b"
	"github.com/matrix-org/complement/client"
	"github.com/matrix-org/complement/helpers"
	"github.com/matrix-org/complement/must"
)

// kill ends the homeserver without a warning, and starts it again.
func kill(t *testing.T, deployment complement.Deployment, name string) {
	t.Helper()
	cli, err := docker.NewClientWithOpts(docker.FromEnv, docker.WithAPIVersionNegotiation())
	must.NotError(t, "no container engine", err)
	id := deployment.ContainerID(t, name)
	ended, failed := cli.ContainerWait(context.Background(), id, container.WaitConditionNotRunning)
	must.NotError(t, "cannot kill the container", cli.ContainerKill(context.Background(), id, "KILL"))
	select {
	case <-ended:
	case err := <-failed:
		must.NotError(t, "the container did not end", err)
	}
	deployment.StartServer(t, name)
}

// What was acknowledged is there after the homeserver was killed: a login, a message, its transaction, a message to a
// device that did not ask yet, account data; and a sync token goes on where it stood.
func TestAcknowledgedOutlivesAKill(t *testing.T) {
	deployment := complement.OldDeploy(t, b.BlueprintCleanHS)
	defer deployment.Destroy(t)
	alice := deployment.Register(t, "hs1", helpers.RegistrationOpts{})
	bob := deployment.Register(t, "hs1", helpers.RegistrationOpts{})
	roomID := alice.MustCreateRoom(t, map[string]interface{}{"preset": "public_chat"})
	bob.MustJoinRoom(t, roomID, nil)
	since := bob.MustSyncUntil(t, client.SyncReq{}, client.SyncJoinedTo(bob.UserID, roomID))

	message := b.Event{
		Type:    "m.room.message",
		Content: map[string]interface{}{"msgtype": "m.text", "body": "before"},
	}
	eventID := alice.Unsafe_SendEventUnsyncedWithTxnID(t, roomID, message, "once")
	alice.MustSendToDeviceMessages(t, "x.test", map[string]map[string]map[string]interface{}{
		bob.UserID: {bob.DeviceID: {"n": 1}},
	})
	bob.MustSetGlobalAccountData(t, "x.test", map[string]interface{}{"kept": true})
	kill(t, deployment, "hs1")

	again := alice.Unsafe_SendEventUnsyncedWithTxnID(t, roomID, message, "once")
	must.Equal(t, again, eventID, "the same transaction is the same event")
	bob.MustSyncUntil(t, client.SyncReq{Since: since},
		client.SyncTimelineHasEventID(roomID, eventID),
		client.SyncToDeviceHas(alice.UserID, func(message gjson.Result) bool {
			return message.Get("type").Str == "x.test" && message.Get("content.n").Int() == 1
		}),
		client.SyncGlobalAccountDataHas(func(event gjson.Result) bool {
			return event.Get("type").Str == "x.test" && event.Get("content.kept").Bool()
		}),
	)
}

// Whoever listens while many speak hears each message once, and those of each speaker in their order, whatever lies in
// gaps.
func TestEachMessageIsHeardOnce(t *testing.T) {
	const speakers, messages = 5, 30
	deployment := complement.Deploy(t, 1)
	defer deployment.Destroy(t)
	listener := deployment.Register(t, "hs1", helpers.RegistrationOpts{})
	roomID := listener.MustCreateRoom(t, map[string]interface{}{"preset": "public_chat"})
	since := listener.MustSyncUntil(t, client.SyncReq{}, client.SyncJoinedTo(listener.UserID, roomID))
	speaking := make(chan struct{}, speakers)
	users := make([]*client.CSAPI, speakers)
	for s := range users {
		users[s] = deployment.Register(t, "hs1", helpers.RegistrationOpts{})
		users[s].MustJoinRoom(t, roomID, nil)
	}
	for _, user := range users {
		go func() {
			defer func() { speaking <- struct{}{} }()
			for n := 0; n < messages; n++ {
				user.Unsafe_SendEventUnsyncedWithTxnID(t, roomID, b.Event{
					Type:    "m.room.message",
					Content: map[string]interface{}{"msgtype": "m.text", "body": fmt.Sprint(n)},
				}, fmt.Sprint(n))
			}
		}()
	}

	heard := map[string][]int64{}
	seen := map[string]bool{}
	hear := func(event gjson.Result) {
		if event.Get("type").Str != "m.room.message" {
			return
		}
		id, sender := event.Get("event_id").Str, event.Get("sender").Str
		if seen[id] {
			t.Errorf("%s was heard twice", id)
		}
		seen[id] = true
		var n int64
		fmt.Sscan(event.Get("content.body").Str, &n)
		heard[sender] = append(heard[sender], n)
	}
	room := "rooms.join." + client.GjsonEscape(roomID) + ".timeline"
	filter := `{"room":{"timeline":{"limit":7}}}`
	for finished := 0; finished < speakers || len(seen) < speakers*messages; {
		before := since
		response, next := listener.MustSync(t, client.SyncReq{Since: since, Filter: filter, TimeoutMillis: "2000"})
		since = next
		timeline := response.Get(room)
		if timeline.Get("limited").Bool() {
			for _, event := range gap(t, listener, roomID, before, timeline.Get("prev_batch").Str) {
				hear(event)
			}
		}
		for _, event := range timeline.Get("events").Array() {
			hear(event)
		}
		silent := !timeline.Exists()
		for more := true; more; {
			select {
			case <-speaking:
				finished++
			default:
				more = false
			}
		}
		if silent && finished == speakers {
			break
		}
	}
	for _, user := range users {
		must.Equal(t, len(heard[user.UserID]), messages, "how many messages were heard")
		for n, got := range heard[user.UserID] {
			must.Equal(t, got, int64(n), "the order of one speaker's messages")
		}
	}
}

// gap is what lies between a sync token and the beginning of a timeline, oldest first.
func gap(t *testing.T, user *client.CSAPI, roomID, after, before string) []gjson.Result {
	t.Helper()
	var events []gjson.Result
	for from := before; from != ""; {
		response := user.MustDo(t, "GET", []string{"_matrix", "client", "v3", "rooms", roomID, "messages"},
			client.WithQueries(url.Values{"dir": {"b"}, "from": {from}, "to": {after}, "limit": {"50"}}))
		page := must.ParseJSON(t, response.Body)
		for _, event := range page.Get("chunk").Array() {
			events = append([]gjson.Result{event}, events...)
		}
		from = page.Get("end").Str
	}
	return events
}
