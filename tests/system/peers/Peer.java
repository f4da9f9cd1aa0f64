/*
 * Java's TLS, which changes its keys while it writes if jdk.tls.keyLimits says so.
 *
 * usage: java Peer.java VERSION METHOD URL ROOTS FILE      as libcurl.py
 */
import java.io.FileInputStream;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Peer {
    static SSLContext trusting(String version, String roots) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream in = new FileInputStream(roots)) {
            store.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] args) throws Exception {
        String version = args[0], method = args[1], roots = args[3];
        Path file = Path.of(args[4]);
        System.setProperty("jdk.tls.client.protocols", "TLSv" + version);
        System.setProperty("https.protocols", "TLSv" + version);

        HttpsURLConnection connection = (HttpsURLConnection) new URI(args[2]).toURL().openConnection();
        connection.setSSLSocketFactory(trusting(version, roots).getSocketFactory());
        connection.setReadTimeout(90000);
        connection.setRequestMethod(method);
        if (method.equals("PUT")) {
            connection.setDoOutput(true);
            connection.setFixedLengthStreamingMode(Files.size(file));
            try (var out = connection.getOutputStream()) {
                Files.copy(file, out);
            }
        }
        try (InputStream in = connection.getInputStream()) { // throws if the answer is an error
            if (method.equals("PUT"))
                in.transferTo(System.out);
            else
                Files.copy(in, file, StandardCopyOption.REPLACE_EXISTING);
        }
        System.out.flush();
    }
}
