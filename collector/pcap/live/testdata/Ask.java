import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** Asks the server at a URL: the first request by HTTP/1 with an upgrade, all others at once. */
public class Ask {
    private static HttpRequest.Builder at(String base, String path, String who) {
        return HttpRequest.newBuilder(URI.create(base + path)).header("Authorization", "Bearer fake-java-" + who);
    }

    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_2).build();
        client.send(at(args[0], "/plain/200/java/first", "first").build(), HttpResponse.BodyHandlers.discarding());
        List<CompletableFuture<HttpResponse<Void>>> all = new ArrayList<>();
        for (int n = 0; n < 60; n++) {
            String kind = List.of("plain", "chunks", "big", "trailers", "hints", "large").get(n % 6);
            HttpRequest.Builder ask = at(args[0], "/" + kind + "/" + List.of(200, 201, 403, 404, 500).get(n % 5) + "/java/" + n, "" + n % 5);
            if (n % 4 == 1) {
                ask.POST(HttpRequest.BodyPublishers.ofString("x".repeat(n * 1000)));
            }
            all.add(client.sendAsync(ask.build(), HttpResponse.BodyHandlers.discarding()));
        }
        for (CompletableFuture<HttpResponse<Void>> one : all) {
            one.get();
        }
    }
}
